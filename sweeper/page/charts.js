// Canvas charts: two layers (the picture, and what is pointed at), axes, and scales.

/** A chart in ``host``. ``draw(context, box)`` paints it, ``over(context, box)`` what is pointed at. */
function chart(host, { height, label, draw, over, move, leave, click, margin }) {
  const base = el('canvas', { 'aria-hidden': 'true' });
  const top = el('canvas', { 'aria-hidden': 'true' });
  const wrap = el('div', { class: 'chart', role: 'img', 'aria-label': label }, base, top);
  host.append(wrap);
  const box = { left: 0, right: 0, top: 0, bottom: 0, width: 0, height: 0 };
  const tall = () => (typeof height === 'function' ? height(wrap.clientWidth) : height);
  function prepare(canvas) {
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    const context = canvas.getContext('2d');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, box.width, box.height);
    context.font = '12px ' + getComputedStyle(document.body).fontFamily;
    return context;
  }
  function paint() {
    if (!wrap.isConnected || !wrap.clientWidth) return;
    box.height = tall();
    wrap.style.height = box.height + 'px';
    box.width = wrap.clientWidth;
    const around = typeof margin === 'function' ? margin(box) : margin || { left: 52, right: 12, top: 10, bottom: 30 };
    Object.assign(box, { left: around.left, right: box.width - around.right, top: around.top, bottom: box.height - around.bottom });
    draw(prepare(base), box);
    paintOver();
  }
  function paintOver() {
    if (!wrap.isConnected || !box.width) return;
    const context = prepare(top);
    if (over) over(context, box);
  }
  const at = (event) => { const r = wrap.getBoundingClientRect(); return [event.clientX - r.left, event.clientY - r.top]; };
  if (move) {
    wrap.addEventListener('pointermove', (event) => move(event, ...at(event)));
    wrap.addEventListener('pointerdown', (event) => move(event, ...at(event)));
    wrap.addEventListener('pointerleave', () => { hideTip(); focus(null); if (leave) leave(); });
  }
  if (click) wrap.addEventListener('click', (event) => click(event, ...at(event)));
  new ResizeObserver(() => requestAnimationFrame(() => { if (Math.abs(wrap.clientWidth - box.width) > 0.5) paint(); })).observe(wrap);
  return { paint, paintOver, wrap, box };
}

/** From a span of values to pixels. ``log`` wants all values above 0. */
function scale(low, high, from, to, log = false) {
  const f = log ? Math.log10 : (value) => value;
  let [a, b] = [f(low), f(high)];
  if (!(b > a)) { a -= log ? 0.5 : Math.abs(a) * 0.05 || 0.5; b += log ? 0.5 : Math.abs(b) * 0.05 || 0.5; }
  const map = (value) => from + ((f(value) - a) / (b - a)) * (to - from);
  map.invert = (pixel) => { const v = a + ((pixel - from) / (to - from)) * (b - a); return log ? 10 ** v : v; };
  map.ticks = (count) => (log ? logTicks(10 ** a, 10 ** b, count) : niceTicks(a, b, count));
  map.log = log;
  return map;
}

function niceTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 2.5, 5, 10].find((part) => part * power >= rough) || 10);
  const ticks = [];
  for (let at = Math.ceil(low / step); at * step <= high + step * 1e-9; at++) ticks.push(+(at * step).toPrecision(12));
  return ticks;
}

function logTicks(low, high, count) {
  const [from, to] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  if (to - from < 1) return niceTicks(low, high, Math.min(4, count)).filter((tick) => tick > 0);
  const step = Math.max(1, Math.ceil((to - from) / count));
  const ticks = [];
  for (let power = from; power <= to; power += step) ticks.push(10 ** power);
  return ticks;
}

function tickText(value) {
  const size = Math.abs(value);
  if (value !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(1).replace('.0e', 'e').replace('e+', 'e');
  return String(+value.toPrecision(6));
}

/** Lines and words of both axes. */
function axes(context, box, x, y, { xLabel, yLabel, xTicks, xTexts } = {}) {
  context.strokeStyle = palette.line;
  context.fillStyle = palette.soft;
  context.lineWidth = 1;
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  for (const tick of y.ticks(Math.max(2, Math.floor((box.bottom - box.top) / 38)))) {
    const at = Math.round(y(tick)) + 0.5;
    if (at < box.top - 1 || at > box.bottom + 1) continue;
    line(context, box.left, at, box.right, at);
    context.fillText(tickText(tick), box.left - 8, at);
  }
  context.textBaseline = 'top';
  context.textAlign = 'center';
  const ticks = xTicks || x.ticks(Math.max(3, Math.floor((box.right - box.left) / 90)));
  let last = -Infinity;
  ticks.forEach((tick, i) => {
    const at = x(tick);
    const text = xTexts ? xTexts[i] : tickText(tick);
    const half = context.measureText(text).width / 2;
    if (at < box.left - 1 || at > box.right + 1 || at - half < last + 6) return;
    context.fillText(text, Math.min(at, box.width - half - 1), box.bottom + 8);
    last = at + half;
  });
  if (xLabel) { context.textAlign = 'right'; context.fillStyle = palette.faint; context.fillText(xLabel, box.right, box.bottom + 22); }
  if (yLabel) { context.textAlign = 'left'; context.textBaseline = 'top'; context.fillStyle = palette.faint; context.fillText(yLabel, box.left + 4, box.top - 2); }
}

function line(context, x1, y1, x2, y2) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

function clip(text, most) { return text.length > most ? text.slice(0, most - 1) + '…' : text; }

/** The span of some numbers, with room around; ``trim`` leaves out what lies absurdly far off (a diverged loss). */
function spanOf(values, { pad = 0.05, trim = false, log = false } = {}) {
  let sorted = values.filter((value) => value != null && Number.isFinite(value) && (!log || value > 0)).sort((a, b) => a - b);
  if (!sorted.length) return log ? [0.1, 1] : [0, 1];
  let [low, high] = [sorted[0], sorted[sorted.length - 1]];
  if (trim && sorted.length > 8 && !log) {
    const at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
    const room = (at(0.9) - at(0.1)) * 3;
    if (room > 0) { low = Math.max(low, at(0.1) - room); high = Math.min(high, at(0.9) + room); }
  }
  if (log) return [low / (high / low) ** pad, high * (high / low) ** pad];
  const room = (high - low || Math.abs(high) || 1) * pad;
  return [low - room, high + room];
}

/** Whether numbers are best drawn on a logarithmic axis: all above 0, evenly spread in magnitude. */
function wantsLog(numbers) {
  const sorted = [...new Set(numbers)].sort((a, b) => a - b);
  if (sorted.length < 3 || sorted[0] <= 0 || sorted[sorted.length - 1] / sorted[0] < 20) return false;
  const middle = sorted[Math.floor(sorted.length / 2)];
  const even = (middle - sorted[0]) / (sorted[sorted.length - 1] - sorted[0]);
  return even < 0.3;
}
