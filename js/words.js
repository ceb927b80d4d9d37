// What our own windows and buttons say, in the frontend's language: `sameSubject` of locales/<language>/main.json.
import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

let loaded = null;

/** Texts by name: those given, and over them the translations under `sameSubject.<group>`. */
export async function translated(group, english) {
  loaded ??= api.getCustomNodesI18n().catch(() => ({}));
  const language = app.extensionManager.setting.get("Comfy.Locale");
  return { ...english, ...(await loaded)[language]?.sameSubject?.[group] };
}
