// Parallel coordinates: every run a line through its parameters, coloured by how well it did; drag on an axis to filter.

function parallelPanel(sweep, standing) {
  const params = varying().filter((param) => param.texts.length > 1);
  if (!params.length || !sweep.target || !sweep.counted.length) return null;
  const share = new Map(sweep.effects.map((effect) => [effect.name, effect.share]));
  const telling = [...params].sort((a, b) => (share.get(b.name) ?? -1) - (share.get(a.name) ?? -1));
  const every = params.map((param) => ({ name: param.name, short: param.short, param, log: param.numeric && wantsLog(param.numbers) }));
  const valueAxis = { name: sweep.target.name, short: sweep.target.name, values: sweep.value };
  let axesOf = [];
  /** As many of the parameters that explain most as there is room for, in the order of the sweep. */
  function fitAxes(box) {
    const room = Math.max(3, Math.min(14, Math.floor((box.right - box.left) / 64)));
    const kept = new Set(telling.slice(0, room).map((param) => param.name));
    axesOf = [...every.filter((axis) => kept.has(axis.name)), valueAxis];
    for (const name of [...brushes.keys()]) if (!axesOf.some((axis) => axis.name === name)) brushes.delete(name);
  }
  const brushes = view.brushes;
  let drag = null;
  const host = el('div');

  function position(axis, run, box) {
    if (axis.values) { const value = axis.values[run]; return value == null ? null : axis.y(value); }
    const at = axis.param.of[run];
    if (at == null) return null;
    if (axis.y) return axis.y(axis.param.numbers[at]);
    const room = Math.min(18, (box.bottom - box.top) / axis.param.texts.length * 0.5);  // lines of one value lie beside each other, best on top
    return slotY(axis, at, box) + (0.5 - (standing[run] ?? 0.5)) * room;
  }
  function slotY(axis, at, box) {
    const count = axis.param.texts.length;
    return count === 1 ? (box.top + box.bottom) / 2 : box.bottom - ((box.bottom - box.top) * at) / (count - 1);
  }

  const plot = chart(host, {
    height: (width) => (width < 560 ? 300 : 360),
    margin: { left: 40, right: 60, top: 46, bottom: 20 },
    label: 'parallel coordinates of the parameters',
    draw(context, box) {
      fitAxes(box);
      axesOf.forEach((axis, i) => {
        axis.x = box.left + ((box.right - box.left) * i) / (axesOf.length - 1);
        if (axis.values) {
          const [low, high] = spanOf(sweep.counted.map((run) => axis.values[run]), { trim: true, pad: 0.02 });
          axis.y = sweep.target.direction === 'min' ? scale(low, high, box.top, box.bottom) : scale(low, high, box.bottom, box.top);
        } else if (axis.param.numeric && axis.param.texts.length > 8) {
          axis.y = scale(Math.min(...axis.param.numbers), Math.max(...axis.param.numbers), box.bottom, box.top, axis.log);
        }
      });
      const shown = sweep.value.map((_, run) => run).filter((run) => standing[run] != null);
      shown.sort((a, b) => standing[a] - standing[b]);
      const lit = shown.filter((run) => view.shown.has(run));
      context.lineWidth = lit.length > 300 ? 0.8 : 1.4;
      for (const run of shown) {
        if (view.shown.has(run)) continue;
        context.globalAlpha = 0.35; context.strokeStyle = palette.line; path(context, run, box);
      }
      context.globalAlpha = Math.max(0.2, Math.min(0.85, 60 / Math.max(1, lit.length) + 0.15));
      for (const run of lit) { context.strokeStyle = ramp(0.05 + 0.95 * standing[run]); path(context, run, box); }
      context.globalAlpha = 1;
      axesOf.forEach((axis, i) => drawAxis(context, axis, i, box));
    },
    over(context, box) {
      const wanted = new Set(view.pinned);
      if (view.focus != null) wanted.add(view.focus);
      for (const run of wanted) {
        context.lineWidth = 5; context.strokeStyle = palette.card; path(context, run, box);
        context.lineWidth = 2.5; context.strokeStyle = palette.mark; path(context, run, box);
      }
    },
    move(event, px, py) {
      if (drag) return;
      const run = nearest(px, py);
      focus(run);
      if (run == null) hideTip(); else runTip(event, run);
    },
    click(event, px, py) { if (!moved) pin(nearest(px, py)); },
  });
  let moved = false;

  function path(context, run, box) {
    context.beginPath();
    let before = null;
    for (const axis of axesOf) {
      const y = position(axis, run, box);
      if (y == null) { before = null; continue; }
      const spot = Math.max(box.top - 6, Math.min(box.bottom + 6, y));
      if (before) { const half = (axis.x - before[0]) / 2; context.bezierCurveTo(before[0] + half, before[1], axis.x - half, spot, axis.x, spot); }
      else context.moveTo(axis.x, spot);
      before = [axis.x, spot];
    }
    context.stroke();
  }

  function drawAxis(context, axis, i, box) {
    context.strokeStyle = palette.faint;
    context.lineWidth = 1;
    line(context, Math.round(axis.x) + 0.5, box.top, Math.round(axis.x) + 0.5, box.bottom);
    context.fillStyle = axis.values ? palette.ink : palette.soft;
    context.textAlign = i === 0 ? 'left' : i === axesOf.length - 1 ? 'right' : 'center';
    context.textBaseline = 'bottom';
    const room = (box.right - box.left) / Math.max(1, axesOf.length - 1);
    const name = clip(axis.short, Math.max(5, Math.floor(room / 7.5)));
    const end = i === 0 ? axis.x - 30 : i === axesOf.length - 1 ? axis.x + 54 : axis.x;
    context.font = (axis.values ? '600 ' : '') + context.font.replace('600 ', '');
    context.fillText(name, end, box.top - (i % 2 && room < 90 ? 28 : 15));
    context.font = context.font.replace('600 ', '');
    context.textAlign = 'left';
    context.textBaseline = 'middle';
    const marks = axis.values || axis.y ? axis.y.ticks(5).map((tick) => [tickText(tick), axis.y(tick)])
      : axis.param.texts.map((text, at) => [text, slotY(axis, at, box)]);
    const step = Math.ceil((marks.length * 14) / (box.bottom - box.top));
    marks.forEach(([text, y], at) => {
      if (at % step) return;
      const short = clip(text, Math.max(4, Math.floor(room / 9)));
      const wide = context.measureText(short).width;
      context.globalAlpha = 0.75; context.fillStyle = palette.card; context.fillRect(axis.x + 5, y - 7, wide + 4, 14);
      context.globalAlpha = 1; context.fillStyle = palette.soft; context.fillText(short, axis.x + 7, y);
    });
    const brush = brushes.get(axis.name);
    if (brush) {
      context.fillStyle = palette.accent; context.globalAlpha = 0.22;
      context.fillRect(axis.x - 8, brush.from, 16, brush.to - brush.from);
      context.globalAlpha = 1; context.strokeStyle = palette.accent; context.strokeRect(axis.x - 8, brush.from, 16, brush.to - brush.from);
    }
  }

  function nearest(px, py) {
    const right = axesOf.findIndex((axis) => axis.x >= px);
    if (right < 1) return null;
    const [a, b] = [axesOf[right - 1], axesOf[right]];
    const share = (px - a.x) / (b.x - a.x);
    const eased = share * share * (3 - 2 * share);
    let [best, least] = [null, 14];
    for (const run of view.shown) {
      const [from, to] = [position(a, run, plot.box), position(b, run, plot.box)];
      if (from == null || to == null || standing[run] == null) continue;
      const far = Math.abs(from + (to - from) * eased - py);
      if (far < least || (far === least && standing[run] > (standing[best] ?? -1))) { least = far; best = run; }
    }
    return best;
  }

  plot.wrap.addEventListener('pointerdown', (event) => {
    moved = false;
    const box = plot.wrap.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const axis = axesOf.find((one) => Math.abs(one.x - px) < 14);
    if (!axis || event.pointerType === 'touch') return;
    drag = { axis, start: py };
    plot.wrap.setPointerCapture(event.pointerId);
  });
  plot.wrap.addEventListener('pointermove', (event) => {
    if (!drag) return;
    const py = event.clientY - plot.wrap.getBoundingClientRect().top;
    if (Math.abs(py - drag.start) < 4) return;
    moved = true;
    const [from, to] = [Math.min(py, drag.start), Math.max(py, drag.start)];
    brush(drag.axis, from, to);
  });
  plot.wrap.addEventListener('pointerup', () => {
    if (drag && !moved && brushes.has(drag.axis.name)) { brushes.delete(drag.axis.name); moved = true; tell('filter'); }
    drag = null;
  });
  function brush(axis, from, to) {
    const test = (run) => { const y = position(axis, run, plot.box); return y != null && y >= from - 3 && y <= to + 3; };
    brushes.set(axis.name, { from, to, test });
    tell('filter');
  }

  listen('shown', () => plot.paint());
  listen('focus', () => plot.paintOver());
  return { card: el('section', { class: 'card block', id: 'parallel' },
    el('div', { class: 'head' }, el('h2', {}, 'All parameters at once'),
      el('div', { class: 'legend' }, el('span', {}, 'worst'), el('span', { class: 'ramp' }), el('span', {}, 'best'))),
    host, el('p', { class: 'hint' }, 'Drag along an axis to keep only the runs that pass there; click the mark to let go.')), paint: plot.paint };
}
