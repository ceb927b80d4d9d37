// A graph that was saved before a widget existed keeps its result: the frontend would give such a widget its default.
import { app } from "../../scripts/app.js";

const BEFORE = { JediApply: { step_noise: "whole batch" } };

app.registerExtension({
  name: "same-subject.saved-graphs",
  beforeRegisterNodeDef(nodeType, nodeData) {
    const before = BEFORE[nodeData.name];
    if (!before) return;
    const configured = nodeType.prototype.onConfigure;
    nodeType.prototype.onConfigure = function (saved) {
      configured?.apply(this, arguments);
      const given = saved.widgets_values?.length ?? 0;
      for (const [place, widget] of (this.widgets ?? []).entries())
        if (widget.name in before && place >= given) widget.value = before[widget.name];
    };
  },
});
