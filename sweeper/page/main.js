// The page put together: one sweep at a time, in the theme that is wanted.

function show(sweep) {
  view.sweep = sweep;
  view.listeners = [];
  view.focus = null;
  view.pinned = new Set();
  view.brushes = new Map();
  view.shown = new Set(sweep.value.map((_, run) => run));
  shortenNames(sweep.params);
  sweep.countedSet = new Set(sweep.counted);
  const standing = standings(sweep);
  sweep.goneSet = new Set(sweep.gone);
  const bar = filterBar(sweep);
  const runs = tablePanel(sweep, standing);
  const panels = [
    ['glance', glance(sweep, standing)],
    ['bar', bar],
    ['runs', runs],
    ['curves', curvesPanel(sweep, standing)],
    ['parallel', parallelPanel(sweep, standing)],
    ['parameters', parametersPanel(sweep, standing)],
    ['heat', heatPanel(sweep)],
    ['timeline', timelinePanel(sweep)],
    ['failures', failuresPanel(sweep)],
  ].filter(([, panel]) => panel);
  const found = Object.fromEntries(panels);
  const cards = (...names) => names.map((name) => found[name]?.card).filter(Boolean);
  const root = document.getElementById('page');
  root.replaceChildren(top(sweep), found.glance, found.bar, ...cards('runs', 'curves', 'parallel'), ...(found.heat && varying().length <= 6 ? [el('div', { class: 'two' }, cards('parameters', 'heat'))] : cards('parameters', 'heat')), ...cards('timeline', 'failures'), tip);
  for (const [, panel] of panels) if (panel.paint) panel.paint();
}

function top(sweep) {
  const tools = el('div', { class: 'tools' });
  if (DATA.sweeps.length > 1) {
    tools.append(el('select', { 'aria-label': 'sweep', id: 'sweep', onchange: (event) => show(DATA.sweeps[+event.target.value]) },
      DATA.sweeps.map((one, i) => el('option', { value: i, selected: one === sweep }, one.name))));
  }
  const theme = el('button', { class: 'quiet', type: 'button', id: 'theme', onclick: () => {
    setTheme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark');
    name();
  } });
  const name = () => { theme.textContent = document.documentElement.dataset.theme === 'dark' ? '☀ light' : '☾ dark'; };
  name();
  tools.append(theme);
  const started = sweep.runs.started.filter((one) => one != null);
  const first = started.length ? when(started.reduce((a, b) => Math.min(a, b))) : '';
  return el('header', { class: 'top' }, el('div', { class: 'grow' }, el('h1', {}, sweep.name),
    el('p', {}, [plural(Object.values(sweep.counts).reduce((a, b) => a + b, 0), 'run'), varying().length ? clip(varying().map((param) => param.short).join(' × '), 110) : '', first ? 'since ' + first : ''].filter(Boolean).join(' · '))), tools);
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  readPalette();
  tell('theme');
}

const dark = matchMedia('(prefers-color-scheme: dark)');
document.documentElement.dataset.theme = dark.matches ? 'dark' : 'light';
dark.addEventListener('change', () => { setTheme(dark.matches ? 'dark' : 'light'); });
readPalette();
document.title = DATA.sweeps.map((sweep) => sweep.name).join(', ') + ' · sweep report';
show(DATA.sweeps[0]);
