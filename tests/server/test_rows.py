"""Rows of a set in Reference Pictures and Joint Set, their order by dragging and by keys, and the live strip of a run."""

import asyncio
import json
import time

import pytest
from same_subject.dev.showing import graphs as demo_graphs
from same_subject.tests.server import graphs
from same_subject.tests.server import opened as opened_graphs

HOSTILE = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'> a ball"
CAPTIONS = [HOSTILE, "a box", "a star"]
PROMPTS = ["one on the beach", "two in the snow", "three {balls|boxes}"]
ROLES = "text => text.split(' · ')[0]"

PREPARE = """(async () => {
  window.of = type => app.graph.nodes.find(node => node.type == type);
  window.widget = (type, name) => of(type).widgets.find(one => one.name == name);
  window.rows = type => [...(of(type).widgets.find(one => one.name == "rows")?.element.querySelectorAll("li") ?? [])];
  window.texts = type => rows(type).map(row => row.children[1].children[1].textContent);
  window.roles = type => rows(type).map(row => row.children[1].children[0].textContent);
  window.order = () => widget("JediReferences", "order").value;
  window.inputs = async type => Object.values((await app.graphToPrompt()).output).find(one => one.class_type == type)?.inputs;
  window.look = (type, scale = 1) => {
    const node = of(type);
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [120 - node.pos[0], 120 - node.pos[1]];
    app.canvas.setDirty(true, true);
  };
  of("JediDemoLoader").connect(3, of("JediReferences"), 0);
  widget("JediReferences", "captions").value = CAPTIONS;
  widget("JediJointSet", "prompts").value = PROMPTS;
  widget("KSampler", "steps").value = 1;
  await new Promise(done => setTimeout(done, 300));
  window.dispatchEvent(new MouseEvent("mouseup"));  // what came before is one step for undo
})()"""


def opened(page):
    text = {"CAPTIONS": json.dumps("\n".join(CAPTIONS)), "PROMPTS": json.dumps("\n".join(PROMPTS))}
    opened_graphs.template(page, demo_graphs.DEMO)
    script = PREPARE
    for name, value in text.items():
        script = script.replace(name, value)
    page.evaluate(script)


def run(page):
    """Run the open graph to its end."""
    page.evaluate(
        """new Promise((done, failed) => {
      app.api.addEventListener("execution_success", () => setTimeout(done, 300), {once: true});
      app.api.addEventListener("execution_error", ({detail}) => failed(detail.exception_message), {once: true});
      app.queuePrompt(0, 1).then(queued => queued || failed("refused"));
    })""",
        60,
    )


@pytest.fixture
def shown(page):
    """The demo graph after a run of one step, with three references and three prompts."""
    opened(page)
    run(page)
    page.wait_for("rows('JediReferences').length == 3 && rows('JediJointSet').length == 6", 30)
    return page


def place(page, type_, number):
    """Where on the page the grip of a row is, counted from 0."""
    page.evaluate(f"look('{type_}')")
    time.sleep(0.4)
    box = page.evaluate(f"""(() => {{
      rows('{type_}')[{number}].scrollIntoView({{block: "nearest"}});
      const {{left, top, width, height}} = rows('{type_}')[{number}].lastChild.getBoundingClientRect();
      return [left + width / 2, top + height / 2];
    }})()""")
    return box


def drag(page, type_, start, end):
    """Drag a row by its grip to where another is."""
    (x, y), (_, there) = place(page, type_, start), place(page, type_, end)
    (x, y) = place(page, type_, start)
    mouse = {"button": "left", "buttons": 1, "clickCount": 1}
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    page.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **mouse)
    for share in (0.3, 0.6, 0.9, 1.0):
        page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y + (there - y) * share, button="left", buttons=1)
    page.call("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=there, **mouse)
    time.sleep(0.3)


def press(page, key, modifiers=0):
    codes = {"ArrowUp": 38, "ArrowDown": 40, "z": 90}
    for kind in ("rawKeyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key], modifiers=modifiers)
    time.sleep(0.3)


ALT, CONTROL = 1, 2


def test_rows_show_role_size_picture_and_text_and_run_nothing(shown):
    page = shown
    assert page.evaluate("roles('JediReferences')") == [f"Reference {number} · 64×64 · crop" for number in (1, 2, 3)]
    texts = page.evaluate("texts('JediReferences')")
    assert texts == CAPTIONS
    assert page.evaluate("roles('JediJointSet')") == [
        *(f"Picture {number} · 64×64" for number in (1, 2, 3)), *(f"Reference {number} · 64×64" for number in (1, 2, 3)),
    ]  # fmt: skip
    prompts = page.evaluate("texts('JediJointSet')")
    assert prompts[:2] == PROMPTS[:2] and prompts[2] in ("three balls", "three boxes") and prompts[3:] == texts
    page.wait_for("rows('JediJointSet').slice(3).every(row => row.querySelector('img').naturalWidth == 64)", 30)
    made = "rows('JediReferences').concat(rows('JediJointSet')).map(row => row.querySelectorAll('script, [onerror]').length)"
    assert set(page.evaluate(made)) == {0} and page.evaluate("window.ran === undefined")


def test_rows_are_there_again_after_a_run_from_memory(shown):
    page = shown
    page.evaluate("app.nodeOutputs = {}")
    assert page.evaluate("rows('JediReferences').length + rows('JediJointSet').length") == 0
    run(page)
    assert page.evaluate("[rows('JediReferences').length, rows('JediJointSet').length]") == [3, 6]


def test_dragging_and_keys_order_references_by_a_plain_value_that_runs(shown):
    page = shown
    drag(page, "JediReferences", 2, 0)
    assert page.evaluate("order()") == "3, 1, 2" == page.evaluate("inputs('JediReferences').then(one => one.order)")
    assert page.evaluate("texts('JediReferences')")[0] == "a star"
    assert page.evaluate("roles('JediReferences').map(" + ROLES + ")") == ["Reference 1", "Reference 2", "Reference 3"]
    page.evaluate("rows('JediReferences')[1].focus()")
    press(page, "ArrowUp", ALT)
    assert page.evaluate("order()") == "1, 3, 2" and page.evaluate("document.activeElement == rows('JediReferences')[0]")
    press(page, "ArrowDown")
    assert page.evaluate("document.activeElement == rows('JediReferences')[1]") and page.evaluate("order()") == "1, 3, 2"
    note = "widget('JediReferences', 'rows').element.querySelector('[role=status]').textContent"
    assert page.evaluate(note) == "Changed since the last run"
    run(page)
    assert page.evaluate(note) == "" and page.evaluate("texts('JediReferences')") == [HOSTILE, "a star", "a box"]
    page.evaluate("widget('JediReferences', 'rows').element.querySelector('button').click()")
    assert page.evaluate("order()") == "" and page.evaluate("texts('JediReferences')")[2] == "a star"


def test_dragging_prompts_moves_their_lines_and_references_stay(shown):
    page = shown
    drag(page, "JediJointSet", 0, 1)
    wanted = [PROMPTS[1], PROMPTS[0], PROMPTS[2]]
    assert page.evaluate("inputs('JediJointSet').then(one => one.prompts)") in (
        "\n".join([*wanted[:2], f"three {choice}"]) for choice in ("balls", "boxes")
    )
    assert page.evaluate("texts('JediJointSet').slice(0, 2)") == wanted[:2]
    page.evaluate("rows('JediJointSet')[2].focus()")
    press(page, "ArrowUp", ALT)
    wanted = [PROMPTS[1], PROMPTS[2], PROMPTS[0]]
    assert page.evaluate("widget('JediJointSet', 'prompts').value") == "\n".join(wanted)
    page.evaluate("rows('JediJointSet')[4].focus()")
    press(page, "ArrowUp", ALT)
    assert page.evaluate("widget('JediJointSet', 'prompts').value") == "\n".join(wanted)
    blocks = "a\\nb\\n---\\n\\n---\\nc\\n---"
    page.evaluate(f"widget('JediJointSet', 'prompts').value = '{blocks}'; of('JediJointSet').onConfigure({{}}); 1")
    page.evaluate("rows('JediJointSet')[2].focus()")
    press(page, "ArrowUp", ALT)
    assert page.evaluate("widget('JediJointSet', 'prompts').value") == "a\nb\n---\nc\n---\n\n---"
    page.evaluate("widget('JediJointSet', 'prompts').value = 'one for all'; of('JediJointSet').onConfigure({}); 1")
    assert page.evaluate("rows('JediJointSet').every(row => !row.textContent.includes('⠿'))"), "nothing to move"


def test_an_order_survives_undo_copies_bypass_subgraphs_and_opening_again(shown):
    page = shown
    for number, wanted in ((2, "1, 3, 2"), (1, "3, 1, 2")):
        page.evaluate(f"rows('JediReferences')[{number}].focus()")
        press(page, "ArrowUp", ALT)
        assert page.evaluate("order()") == wanted
    page.evaluate("document.activeElement.blur()")
    press(page, "z", CONTROL)
    page.wait_for("order() == '1, 3, 2' && texts('JediReferences')[1] == 'a star'", 30)
    copied = page.evaluate("""(() => {
      const node = of("JediReferences");
      app.canvas.copyToClipboard([node]);
      app.canvas.pasteFromClipboard();
      const copy = app.graph.nodes.filter(one => one.type == "JediReferences").at(-1);
      const value = copy.widgets.find(one => one.name == "order").value;
      app.graph.remove(copy);
      return [copy !== node, value];
    })()""")
    assert copied == [True, "1, 3, 2"]
    bypassed = page.evaluate("""(async () => {
      of("JediReferences").mode = 4;
      const gone = await inputs("JediReferences");
      of("JediReferences").mode = 0;
      return [gone === undefined, (await inputs("JediReferences")).order];
    })()""")
    assert bypassed == [True, "1, 3, 2"]
    again = page.evaluate("""(async () => {
      const saved = JSON.parse(JSON.stringify(app.graph.serialize()));
      const values = saved.nodes.find(one => one.type == "JediReferences").widgets_values;
      await app.loadGraphData(saved, true, true, "again");
      await new Promise(done => setTimeout(done, 500));
      return [values, order()];
    })()""")
    assert again[0][-1] == "1, 3, 2" == again[1], "and nothing else is saved of the rows"
    inside = page.evaluate("""(async () => {
      const {node} = app.graph.convertToSubgraph(new Set([of("JediReferences"), of("JediApply")]));
      const prompt = (await app.graphToPrompt()).output;
      const [id, one] = Object.entries(prompt).find(([, one]) => one.class_type == "JediReferences");
      window.inner = node.subgraph.nodes.find(one => one.type == "JediReferences");
      return [id, String(node.id), one.inputs.order];
    })()""")
    assert inside[0].startswith(f"{inside[1]}:") and inside[2] == "1, 3, 2"
    run(page)
    inner = "[...inner.widgets.find(one => one.name == 'rows').element.querySelectorAll('li')]"
    assert page.evaluate(f"{inner}.map(row => row.children[1].children[1].textContent)[1]") == "a star"


def test_a_wrong_order_is_refused_before_the_queue_starts_and_where_it_does_not_fit(live):
    graph = graphs.changed(graphs.basic(), "references", order="2, 2")
    with pytest.raises(Exception, match="`order` is `2, 2`, but needs each number from 1 up to the count of pictures once"):
        live.client.run(graph)
    with pytest.raises(Exception, match="2 numbers, but 1 picture was given, so it needs 1"):
        live.client.run(graphs.changed(graphs.basic(), "references", order="2, 1"))
    both = graphs.basic(("red.png", "green.png"), prompts="one", steps=1)
    shown = live.client.run(graphs.changed(both, "references", order="2, 1"))["references"]["same_subject_rows"]
    assert [row["given"] for row in shown] == [2, 1] and [row["size"] for row in shown] == [[48, 80], [64, 64]]


STRIP = """(() => {
  window.strip = () => document.querySelector(".same-subject-strip img");
  window.strips = [];
  app.api.addEventListener("same-subject.strip", ({detail}) => strips.push([detail.node, detail.picture]));
  app.extensionManager.setting.set("Comfy.Execution.PreviewMethod", "auto");
  widget("KSampler", "steps").value = 50; // a strip is followed by ten times its cost without one
  widget("KSampler", "seed").value = Math.floor(Math.random() * 1e9); // not kept from an earlier run
  look("JediApply");
  window.before = [of("JediApply").size[1], of("JediApply").widgets.length];
})()"""


def test_the_whole_set_is_shown_live_in_the_node_and_nothing_stays(page):
    opened(page)
    page.evaluate(STRIP)
    page.evaluate("app.queuePrompt(0, 1)")
    try:
        page.wait_for("strips.length > 1 && strip()?.isConnected && strip().offsetHeight > 30", 60)
        assert page.evaluate("strip().alt").startswith("pictures: 3 · references: 3 · step: ")
        assert page.evaluate("strip().naturalWidth / strip().naturalHeight > 5")
        page.wait_for("strips.at(-1)[1] === null", 60)
        time.sleep(0.5)
        assert page.evaluate("[of('JediApply').size[1], of('JediApply').widgets.length]") == page.evaluate("before")
        assert page.evaluate("strips.every(([node]) => node == of('JediApply').id)")
    finally:
        page.evaluate("app.extensionManager.setting.set('Comfy.Execution.PreviewMethod', 'default')")


async def heard(live, previews):
    """Events of a run with previews as one of two tabs sees them, and what the other sees meanwhile."""
    import aiohttp

    mine, other = [], []
    async with aiohttp.ClientSession() as session:
        ours, theirs = [
            await session.ws_connect(f"{live.client.url}/ws?clientId={name}", max_msg_size=0) for name in ("ours", "theirs")
        ]
        graph = graphs.basic(steps=3, seed=time.monotonic_ns() % 2**32)
        extra = {"preview_method": previews}
        answer = live.client.post("/prompt", {"prompt": graph, "client_id": "ours", "extra_data": extra})
        while True:
            message = await asyncio.wait_for(ours.receive(), 60)
            if message.type != aiohttp.WSMsgType.TEXT:
                continue
            event = json.loads(message.data)
            mine.append(event)
            if event["type"] == "executing" and event["data"]["node"] is None:
                break
        while True:
            try:
                message = await asyncio.wait_for(theirs.receive(), 1)
            except TimeoutError:
                break
            if message.type == aiohttp.WSMsgType.TEXT:
                other.append(json.loads(message.data))
    strips = [[one["data"] for one in events if one["type"] == "same-subject.strip"] for events in (mine, other)]
    return answer["prompt_id"], *strips


def test_a_strip_goes_to_the_tab_that_queued_alone_and_to_none_where_previews_are_off(live):
    prompt_id, mine, other = asyncio.run(heard(live, "auto"))
    assert other == [] and mine[0]["picture"].startswith("data:image/jpeg;base64,") and mine[-1]["picture"] is None
    assert {(one["node"], one["prompt_id"], one["pictures"], one["references"]) for one in mine} == {("jedi", prompt_id, 2, 1)}
    _, mine, other = asyncio.run(heard(live, "none"))
    assert mine == other == []
