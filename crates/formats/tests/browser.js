// What the tests of the flame graph's page do in it; see browser.rs.

const nameOf = node => node.place < 0 ? 'all' : describe(node.place).name;
const kidNames = node => model.kids(node).map(nameOf);
const press = key => document.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
const say = id => document.getElementById(id).textContent;

function click(name) {
  const box = document.getElementById('canvas').getBoundingClientRect();
  for (let row = 0; row < scene.rows.length; row++) {
    const item = scene.rows[row].find(one => nameOf(one.node) === name);
    if (item) {
      const [clientX, clientY] = [box.left + item.x + item.w / 2, box.top + scene.yOf(row) + 8];
      document.getElementById('chart').dispatchEvent(new MouseEvent('click', {clientX, clientY}));
      return;
    }
  }
}

function choose(id, value) {
  const select = document.getElementById(id);
  select.value = value;
  select.dispatchEvent(new Event('change'));
}

function type(words) {
  const input = document.getElementById('search');
  input.value = words;
  input.dispatchEvent(new Event('input'));
}

function flame() {
  const found = {};
  found.roots = kidNames(model.root);
  found['below main'] = kidNames(model.root.kids[0]);
  click('serve');
  found.clicked = [say('what'), say('shares')];
  found.window = state.window;
  press('Backspace');
  found.back = state.window;
  type('FIB');
  found.searched = say('matched');
  press('Escape');
  found['search ended'] = say('matched');
  found.everywhere = {};
  for (const name of ['fib', 'main']) {
    const place = model.places.function.findIndex((_, n) => describe(n).name === name);
    found.everywhere[name] = [model.shares.own[place], model.shares.total[place]];
  }
  press('i');
  found.inverted = kidNames(model.root);
  press('i');
  press('l');
  found.lines = [...model.shares.total].filter(ticks => ticks > 0).length;
  press('l');
  found.moved = [say('what')];
  for (const key of ['ArrowDown', 'ArrowDown', 'ArrowRight', 'ArrowRight', 'ArrowDown']) {
    press(key);
    found.moved.push(say('what'));
  }
  press('Enter');
  found['zoomed by key'] = state.window;
  press('Escape');
  choose('thread', '1');
  found.thread = [model.all, kidNames(model.root.kids[0])];
  choose('thread', '-1');
  found.status = [...document.getElementById('status').options].map(one => one.textContent);
  choose('status', 'off');
  found['off the processor'] = model.all;
  choose('status', 'all');
  press('t');
  found.lanes = model.lanes.map(lane => [lane.thread, ...lane.rows.slice(0, 2).map(row =>
    row.map(item => [nameOf(item), item.start, item.size]))]);
  return found;
}

function difference() {
  const widths = () => model.kids(model.root.kids[0]).filter(node => node.size > 0)
    .map(node => [nameOf(node), node.size]);
  const found = {after: widths()};
  click('serve');
  found.said = say('shares');
  document.querySelector('[data-set="side=before"]').click();
  found.before = widths();
  return found;
}

function deep() {
  const found = {rows: scene.rows.length};
  press('i');
  found.inverted = scene.rows.length;
  press('i');
  press('r');
  press('t');
  found.lanes = model.lanes.length;
  return found;
}

// What can be touched, as far as it is not where a finger reaches it.
function hand() {
  press('ArrowDown');
  const shown = [...document.querySelectorAll('nav button, nav select, nav input')]
    .map(one => [one.id || one.textContent, one.getBoundingClientRect()])
    .filter(([, box]) => box.width > 0);
  const outside = ([, box]) => box.left < 0 || box.right > innerWidth || box.bottom > innerHeight / 2;
  const small = ([, box]) => box.height < 32 || box.width < 24;
  const names = of => shown.filter(of).map(([name]) => name);
  return {
    window: innerWidth, wide: document.documentElement.scrollWidth,
    outside: names(outside), small: names(small),
  };
}
