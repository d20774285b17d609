// Learning curves of all runs: highlight one, smooth, logarithmic axes.

function curvesPanel(sweep, standing) {
  if (!sweep.curves.length) return null;
  const state = { metric: 0, smooth: 0, logX: false, logY: false, color: '' };
  let lines = [];
  let scales = null;

  const choose = el('select', { 'aria-label': 'metric', onchange: (event) => { state.metric = +event.target.value; state.logY = false; logY.setAttribute('aria-pressed', 'false'); redo(); } },
    sweep.curves.map((curve, i) => el('option', { value: i }, curve.name)));
  const color = el('select', { 'aria-label': 'colour', onchange: (event) => { state.color = event.target.value; plot.paint(); } },
    el('option', { value: '' }, sweep.target ? sweep.target.name : 'rank'),
    varying().map((param) => el('option', { value: param.name }, param.short)));
  const slider = el('input', { type: 'range', min: 0, max: 0.98, step: 0.02, value: 0, 'aria-label': 'smoothing', oninput: (event) => { state.smooth = +event.target.value; redo(); } });
  const toggle = (text, key) => {
    const button = el('button', { class: 'quiet', type: 'button', 'aria-pressed': 'false', onclick: () => {
      state[key] = !state[key];
      button.setAttribute('aria-pressed', String(state[key]));
      plot.paint();
    } }, text);
    return button;
  };
  const [logX, logY] = [toggle('log x', 'logX'), toggle('log y', 'logY')];
  const host = el('div');
  const legend = el('div', { class: 'legend' });

  /** Each shown run's curve, smoothed by an average that forgets exponentially, with its bias at the start taken out. */
  function redo() {
    const curve = sweep.curves[state.metric];
    lines = [];
    curve.of.forEach((steps, run) => {
      if (steps == null) return;
      const [xs, ys] = [curve.steps[steps], curve.y[run]];
      let [sum, weight] = [0, 0];
      const smooth = ys.map((y) => {
        if (y == null) return null;
        sum = sum * state.smooth + y * (1 - state.smooth);
        weight = weight * state.smooth + (1 - state.smooth);
        return sum / weight;
      });
      lines.push({ run, xs, ys: smooth, raw: ys });
    });
    plot.paint();
  }

  function shade(run) {
    if (state.color) {
      const param = sweep.params.find((one) => one.name === state.color);
      const at = param.of[run];
      if (at == null) return palette.faint;
      return param.numeric ? ramp(0.15 + 0.85 * at / Math.max(1, param.texts.length - 1)) : category(at, param.texts.length);
    }
    return standing[run] == null ? palette.faint : ramp(0.12 + 0.88 * standing[run]);
  }

  function trace(context, item) {
    const { x, y } = scales;
    context.beginPath();
    let open = false;
    item.xs.forEach((step, i) => {
      const value = item.ys[i];
      if (value == null || (state.logX && step <= 0) || (state.logY && value <= 0)) { open = false; return; }
      if (open) context.lineTo(x(step), y(value)); else context.moveTo(x(step), y(value));
      open = true;
    });
    context.stroke();
    if (item.xs.length === 1 && item.ys[0] != null) dot(context, x(item.xs[0]), y(item.ys[0]), 2.5);
  }

  const plot = chart(host, {
    height: (width) => (width < 560 ? 300 : 400),
    margin: { left: 56, right: 16, top: 14, bottom: 44 },
    label: 'learning curves of all runs',
    draw(context, box) {
      const curve = sweep.curves[state.metric];
      const shown = lines.filter((item) => view.shown.has(item.run));
      const xs = shown.flatMap((item) => [item.xs[0], item.xs[item.xs.length - 1], ...(state.logX ? item.xs.filter((v) => v > 0).slice(0, 1) : [])]);
      const ys = shown.flatMap((item) => item.ys);
      const [xLow, xHigh] = spanOf(xs, { pad: 0, log: state.logX });
      const [yLow, yHigh] = spanOf(ys, { trim: true, log: state.logY });
      scales = { x: scale(xLow, xHigh, box.left, box.right, state.logX), y: scale(yLow, yHigh, box.bottom, box.top, state.logY) };
      const whole = state.logX ? null : scales.x.ticks(Math.max(3, Math.floor((box.right - box.left) / 90))).filter(Number.isInteger);
      axes(context, box, scales.x, scales.y, { xLabel: curve.step, yLabel: curve.name, xTicks: whole && whole.length > 1 ? whole : undefined });
      context.save();
      context.beginPath();
      context.rect(box.left, box.top - 2, box.right - box.left, box.bottom - box.top + 4);
      context.clip();
      context.lineJoin = 'round';
      context.globalAlpha = Math.max(0.25, Math.min(0.9, 40 / Math.max(1, shown.length) + 0.2));
      context.lineWidth = shown.length > 300 ? 0.8 : 1.3;
      const order = [...shown].sort((a, b) => (standing[a.run] ?? -1) - (standing[b.run] ?? -1));
      for (const item of order) { context.strokeStyle = context.fillStyle = shade(item.run); trace(context, item); }
      context.restore();
      drawLegend();
    },
    over(context, box) {
      if (!scales) return;
      context.save();
      context.beginPath();
      context.rect(box.left, box.top - 2, box.right - box.left, box.bottom - box.top + 4);
      context.clip();
      const wanted = new Set(view.pinned);
      if (view.focus != null) wanted.add(view.focus);
      if (!wanted.size && sweep.best != null && view.shown.has(sweep.best)) wanted.add(sweep.best);
      if (view.focus != null) { context.fillStyle = palette.card; context.globalAlpha = 0.55; context.fillRect(box.left, box.top - 2, box.width, box.bottom - box.top + 4); context.globalAlpha = 1; }
      for (const item of lines) {
        if (!wanted.has(item.run)) continue;
        if (state.smooth && item.run === view.focus) {
          context.strokeStyle = palette.faint; context.lineWidth = 1; context.globalAlpha = 0.6;
          trace(context, { ...item, ys: item.raw });
          context.globalAlpha = 1;
        }
        context.lineWidth = 5; context.strokeStyle = palette.card; context.fillStyle = palette.card; trace(context, item);
        context.lineWidth = 2.5; context.strokeStyle = context.fillStyle = item.run === view.focus || view.pinned.has(item.run) ? palette.mark : shade(item.run);
        trace(context, item);
      }
      context.restore();
    },
    move(event, px, py) {
      const hit = nearest(px, py);
      focus(hit ? hit.run : null);
      if (!hit) { hideTip(); return; }
      const curve = sweep.curves[state.metric];
      runTip(event, hit.run, `${curve.step} ${tickText(hit.step)}: ${curve.name} ${fmt(hit.value)}`);
    },
    click(event, px, py) { const hit = nearest(px, py); if (hit) pin(hit.run); },
  });

  function nearest(px, py) {
    let best = null;
    let least = 30 ** 2;
    for (const item of lines) {
      if (!view.shown.has(item.run)) continue;
      for (let i = 0; i < item.xs.length; i++) {
        const value = item.ys[i];
        if (value == null || (state.logX && item.xs[i] <= 0) || (state.logY && value <= 0)) continue;
        const [dx, dy] = [scales.x(item.xs[i]) - px, scales.y(value) - py];
        const far = dx * dx * 0.6 + dy * dy;
        if (far < least) { least = far; best = { run: item.run, step: item.xs[i], value }; }
      }
    }
    return best;
  }

  function drawLegend() {
    const key = (shade, text) => el('span', {}, el('i', { class: 'dot', style: { background: shade } }), text);
    const grey = lines.some((item) => view.shown.has(item.run) && shade(item.run) === palette.faint);
    if (!state.color) {
      legend.replaceChildren(...(standing.some((one) => one != null) ? [el('span', {}, 'worst'), el('span', { class: 'ramp' }), el('span', {}, 'best')] : []),
        grey ? key(palette.faint, 'not ranked: did not finish, goes on, or gone from the sweep file') : '');
      return;
    }
    const param = sweep.params.find((one) => one.name === state.color);
    const many = param.texts.length > 10;
    const texts = many ? [param.texts[0], param.texts[param.texts.length - 1]] : param.texts;
    legend.replaceChildren(...texts.map((text) => {
      const at = param.texts.indexOf(text);
      const shown = param.numeric ? ramp(0.15 + 0.85 * at / Math.max(1, param.texts.length - 1)) : category(at, param.texts.length);
      return key(shown, clip(text, 24));
    }), many ? `(${param.texts.length} values)` : '', grey ? key(palette.faint, `without ${param.short}`) : '');
  }

  listen('shown', () => plot.paint());
  listen('focus', () => plot.paintOver());
  const card = el('section', { class: 'card block', id: 'curves' },
    el('div', { class: 'head' }, el('h2', {}, 'Learning curves'), choose,
      el('label', {}, 'colour by', color), el('label', {}, 'smooth', slider), logX, logY),
    host, el('div', { class: 'head' }, legend), el('p', { class: 'hint' }, 'Point at a curve to see its run; click to keep it highlighted here and in every other picture.'));
  redo();
  return { card, paint: redo };
}

function dot(context, x, y, size) {
  context.beginPath();
  context.arc(x, y, size, 0, 2 * Math.PI);
  context.fill();
}

/** A colour for a value that has no order: hues as far apart as there are values. */
function category(at, count) {
  const dark = document.documentElement.dataset.theme === 'dark';
  const fixed = [212, 28, 150, 330, 50, 265, 185, 0, 95, 300];
  const hue = count <= fixed.length ? fixed[at] : (360 * at) / count;
  return `hsl(${hue} ${dark ? 62 : 58}% ${dark ? 64 : 45}%)`;
}
