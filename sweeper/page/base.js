// Small things that every panel needs: elements, numbers, colours, and what is chosen at the moment.

const DATA = JSON.parse(document.getElementById('data').textContent);

/** An element. Strings among the children become text, never markup. */
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'class') node.className = value;
    else if (name === 'style') for (const [key, text] of Object.entries(value)) node.style.setProperty(key, text);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== false && value != null) node.setAttribute(name, String(value));
  }
  node.append(...children.flat(3).filter((child) => child != null && child !== false).map((child) =>
    child instanceof Node ? child : document.createTextNode(String(child))));
  return node;
}

/** A number with four digits that matter. */
function fmt(value, digits = 4) {
  if (value == null || Number.isNaN(value)) return '';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const size = Math.abs(value);
  if (value === 0) return '0';
  if (Number.isInteger(value) && size < 1e7) return String(value);
  if (size >= 1e7 || size < 1e-4) return value.toExponential(digits - 1).replace(/(\.\d*?)0+e/, '$1e').replace('.e', 'e');
  const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return places ? value.toFixed(places).replace(/\.?0+$/, '') : value.toFixed(0);
}

/** How many digits tell nearly all of a column's values apart: 4 to 6. */
function digitsFor(values) {
  const known = [...new Set(values.filter((value) => value != null))];
  return [4, 5].find((digits) => new Set(known.map((value) => value.toPrecision(digits))).size >= 0.9 * known.length) || 6;
}

function clock(seconds) {
  if (seconds == null) return '';
  if (seconds < 0.05) return '0 s';
  if (seconds < 9.95) return seconds.toFixed(1) + ' s';
  const whole = Math.round(seconds);
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${String(minutes).padStart(2, '0')} min`;
  return minutes >= 10 ? `${minutes} min` : minutes ? `${minutes} min ${String(whole % 60).padStart(2, '0')} s` : `${whole} s`;
}

function when(seconds) {
  return new Date(seconds * 1000).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
}

const plural = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;
const words = (state) => state.replaceAll('_', ' ');

// ---- colours: read from the style sheet, so that both themes come from one place

let palette = {};
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const names = ['bg', 'card', 'ink', 'soft', 'faint', 'line', 'hover', 'accent', 'mark', 'good', 'bad', 'warn', 'r0', 'r1', 'r2', 'r3', 'r4'];
  palette = Object.fromEntries(names.map((name) => [name, style.getPropertyValue('--' + name).trim()]));
  palette.ramp = ['r0', 'r1', 'r2', 'r3', 'r4'].map((name) => rgb(palette[name]));
  palette.states = Object.fromEntries(DATA.states.map((state) => [state, style.getPropertyValue('--s-' + state).trim()]));
}
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** The colour at a share between 0 (worst) and 1 (best). */
function ramp(share, alpha = 1) {
  const at = Math.max(0, Math.min(1, share)) * (palette.ramp.length - 1);
  const low = Math.min(palette.ramp.length - 2, Math.floor(at));
  const mixed = palette.ramp[low].map((part, i) => Math.round(part + (palette.ramp[low + 1][i] - part) * (at - low)));
  return `rgb(${mixed.join(' ')} / ${alpha})`;
}
/** Whether dark or light text is legible on that colour. */
function onRamp(share) {
  const [r, g, b] = ramp(share).match(/\d+/g).map(Number);
  return r * 0.299 + g * 0.587 + b * 0.114 > 140 ? '#12181f' : '#ffffff';
}

// ---- what is chosen: which sweep, which runs pass the filter, which run is pointed at or pinned

const view = { sweep: null, shown: new Set(), focus: null, pinned: new Set(), brushes: new Map(), listeners: [] };
function listen(what, act) { view.listeners.push([what, act]); }
function tell(what) { for (const [wanted, act] of view.listeners) if (wanted === what || what === 'theme') act(); }
function focus(run) { if (view.focus !== run) { view.focus = run; tell('focus'); } }
function pin(run) {
  if (run == null) return;
  if (view.pinned.has(run)) view.pinned.delete(run); else view.pinned.add(run);
  tell('focus');
}

/** The text of a run's parameter; '' where it has none. */
function paramText(param, run) { return param.of[run] == null ? '' : param.texts[param.of[run]]; }
function paramNumber(param, run) { return param.numeric && param.of[run] != null ? param.numbers[param.of[run]] : null; }
/** Gives each parameter the shortest end of its name that no other ends with: ``layer_0.dropout`` for ``model.layer_0.dropout``. */
function shortenNames(params) {
  const ends = (name) => { const parts = name.split(/(?<=[./:])/); return parts.map((_, i) => parts.slice(parts.length - 1 - i).join('')); };
  const count = new Map();
  for (const param of params) for (const end of ends(param.name)) count.set(end, (count.get(end) || 0) + 1);
  for (const param of params) param.short = ends(param.name).find((end) => count.get(end) === 1) || param.name;
}
function shortName(name) { return view.sweep.params.find((param) => param.name === name)?.short ?? name; }
/** ``lr=0.1  net=cnn`` of a run, of no more parameters than one reads. */
function settingsOf(run, most = 12) {
  const known = varying().filter((param) => param.of[run] != null);
  return known.slice(0, most).map((param) => `${param.short}=${clip(paramText(param, run), 60)}`).join('  ') + (known.length > most ? `  and ${known.length - most} more` : '');
}
function varying() { const s = view.sweep; return s.params.filter((param) => s.varying.includes(param.name)); }
function stateOf(run) { return DATA.states[view.sweep.runs.state[run]]; }
/** A run's state in words, and whether it is gone from the sweep file. */
function stateText(run) { return words(stateOf(run)) + (view.sweep.goneSet.has(run) ? ', gone' : ''); }
function runName(run) { return 'run ' + view.sweep.runs.number[run]; }

/** The place of each run that counts between the worst (0) and the best (1), by rank: outliers take no colour from the rest. */
function standings(sweep) {
  const order = sweep.counted.map((run) => [sweep.value[run], run]);
  const sign = sweep.target && sweep.target.direction === 'min' ? -1 : 1;
  order.sort((a, b) => sign * (a[0] - b[0]));
  const found = sweep.value.map(() => null);
  let last = null;
  order.forEach(([value, run], place) => {
    const share = order.length > 1 ? place / (order.length - 1) : 1;
    found[run] = last && last[0] === value ? last[1] : share;
    last = [value, found[run]];
  });
  return found;
}

// ---- the one tooltip

const tip = el('div', { class: 'tip', role: 'status', hidden: true });
function showTip(event, ...lines) {
  tip.replaceChildren(...lines.filter(Boolean).map((line) => (line instanceof Node ? line : el('div', {}, line))));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const left = event.clientX + 16 + box.width > innerWidth ? event.clientX - box.width - 12 : event.clientX + 16;
  const top = Math.min(event.clientY + 14, innerHeight - box.height - 8);
  tip.style.left = Math.max(6, left) + 'px';
  tip.style.top = Math.max(6, top) + 'px';
}
function hideTip() { tip.hidden = true; }

function runTip(event, run, ...more) {
  const s = view.sweep;
  const value = s.target && s.value[run] != null ? `${s.target.name} ${fmt(s.value[run], s.digits)}` : '';
  showTip(event, el('b', {}, `${runName(run)} · ${stateText(run)}${s.value[run] != null && !s.countedSet.has(run) ? ', not ranked' : ''}`), value, settingsOf(run), ...more);
}
