"use strict";
// What is said of every clip lives here and, line by line, on the server; the server draws the sheets.
const token = new URLSearchParams(location.search).get("token");
const clips = JSON.parse(document.getElementById("known").textContent).clips;
const show = name => document.getElementById(name);
const address = (path, clip) => `${path}?${new URLSearchParams({token, clip})}`;
const undone = [];  // what was said before each change, with its clip's place
let place = Math.max(0, clips.findIndex(clip => clip.verdict === null));
let busy = Promise.resolve();

async function ask(path, options) {
  const answer = await fetch(path, options);
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  return text;
}

function draw(html) {
  const clip = clips[place];
  show("sheet").innerHTML = html;  // made by the server's template, which escapes whatever a stranger wrote
  show("title").textContent = clip.clip;
  show("progress").textContent =
    `${place + 1} of ${clips.length}, ${clips.filter(each => each.verdict !== null).length} judged`;
  const moved = clip.moves.length ? `, ${clip.moves.length} moved` : "";
  show("verdict").dataset.verdict = clip.verdict ?? "";
  show("verdict").textContent = ({accept: "accepted", reject: "rejected"}[clip.verdict] ?? "not judged") + moved;
}

async function open(to) {
  place = Math.min(Math.max(to, 0), clips.length - 1);
  draw(await ask(address("/sheet", clips[place].clip)));
  show("video").src = address("/video", clips[place].clip);
}

async function say(verdict, moves, remember = true) {
  const before = clips[place], said = {clip: before.clip, verdict, moves};
  const html = await ask(address("/review", said.clip),
    {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(said)});
  if (remember) undone.push([place, before]);
  clips[place] = said;
  draw(html);
}

const attributes = () => [...document.querySelectorAll(".attribute")];
const selected = () => attributes().find(each => each.getAttribute("aria-pressed") === "true");

function select(button) {
  attributes().forEach(each => each.setAttribute("aria-pressed", String(each === button)));
  button?.focus();
}

function step() {
  const all = attributes();
  select(all[(all.indexOf(selected()) + 1) % all.length]);
}

async function move(number) {
  const button = selected(), to = document.querySelector(`.person[data-number="${number}"]`)?.dataset.id;
  if (!button) throw new Error("select an attribute first");
  if (!to) throw new Error(`there is no person ${number}`);
  const owner = button.dataset.owner, attribute = Number(button.dataset.number);
  const others = clips[place].moves.filter(each => each.owner !== owner || each.attribute !== attribute);
  await say(clips[place].verdict, to === owner ? others : [...others, {owner, attribute, to}]);
}

async function judge(verdict) {
  await say(verdict, clips[place].moves);
  if (place + 1 < clips.length) await open(place + 1);
}

async function undo() {
  if (!undone.length) throw new Error("nothing to undo");
  const [where, before] = undone.at(-1);
  await open(where);
  await say(before.verdict, before.moves, false);
  undone.pop();
}

const keys = {
  a: () => judge("accept"), r: () => judge("reject"), u: undo,
  j: () => open(place + 1), k: () => open(place - 1), ArrowRight: () => open(place + 1),
  ArrowLeft: () => open(place - 1), s: step, Escape: () => select(null),
};
for (let number = 1; number <= 9; number++) keys[number] = () => move(number);

// One after the other: a reviewer is faster than a disk.
function press(key) {
  busy = busy.then(async () => {
    show("problem").textContent = "";
    await keys[key]();
  }).catch(error => { show("problem").textContent = error.message; });
}

document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(keys, event.key)) return;
  if (event.target.tagName === "VIDEO" && event.key.startsWith("Arrow")) return;
  event.preventDefault();
  press(event.key);
});
document.addEventListener("click", event => {
  const key = event.target.closest("[data-key]")?.dataset.key, attribute = event.target.closest(".attribute");
  if (key) press(key);
  if (attribute) select(attribute.getAttribute("aria-pressed") === "true" ? null : attribute);
});

if (clips.length) busy = open(place).catch(error => { show("problem").textContent = error.message; });
else show("progress").textContent = "no clip is packed yet";
