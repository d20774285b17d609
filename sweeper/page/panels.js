// A plot per parameter, the heat map of a pair, and the failed runs' last lines.

function parametersPanel(sweep, standing) {
  const params = varying().filter((param) => param.texts.length > 1);
  if (!params.length || !sweep.target || !sweep.counted.length) return null;
  const share = new Map(sweep.effects.map((effect) => [effect.name, effect]));
  params.sort((a, b) => (share.get(b.name)?.share ?? -1) - (share.get(a.name)?.share ?? -1));
  const plots = [];
  const grid = el('div', { class: 'multiples' });
  for (const param of params.slice(0, 24)) {
    const effect = share.get(param.name);
    const said = sweep.repeat.includes(param.name) ? 'repeats' : effect ? `explains ${percent(effect.share)}` + (effect.clear ? '' : ', may be chance') : '';
    const host = el('div', {}, el('h4', { title: param.name }, el('b', {}, param.short), el('span', {}, said)));
    plots.push(parameterPlot(host, param, sweep, standing));
    grid.append(host);
  }
  listen('shown', () => plots.forEach((plot) => plot.paint()));
  listen('focus', () => plots.forEach((plot) => plot.paintOver()));
  return { card: el('section', { class: 'card block', id: 'parameters' },
    el('div', { class: 'head' }, el('h2', {}, 'What each parameter did'), el('span', { class: 'hint' }, `${sweep.target.name} of every run; the bar is the mean`)), grid), paint: () => plots.forEach((plot) => plot.paint()) };
}

function percent(share) { return share > 0 && share < 0.005 ? '<1 %' : Math.round(share * 100) + ' %'; }

function parameterPlot(host, param, sweep, standing) {
  const log = param.numeric && wantsLog(param.numbers);
  const continuous = param.numeric && param.texts.length > 8;
  let spots = [];
  const inside = (run) => standing[run] != null && param.of[run] != null;
  return chart(host, {
    height: 190,
    margin: { left: 46, right: 8, top: 12, bottom: 26 },
    label: `${sweep.target.name} by ${param.name}`,
    draw(context, box) {
      const runs = [...view.shown].filter(inside);
      const [low, high] = spanOf(runs.map((run) => sweep.value[run]), { trim: true });
      const y = scale(low, high, box.bottom, box.top);
      const wide = (box.right - box.left) / param.texts.length;
      const slot = (at) => box.left + wide * (at + 0.5);
      const x = continuous ? scale(...spanOf(param.numbers, { log }), box.left, box.right, log) : null;
      const most = Math.max(2, Math.floor((box.right - box.left) / Math.max(1, param.texts.length) / 6.4));
      axes(context, box, x || slot, y, continuous ? {} : { xTicks: param.texts.map((_, at) => at), xTexts: param.texts.map((text) => clip(text, Math.max(4, most))) });
      context.save();
      context.beginPath();
      context.rect(box.left, box.top - 4, box.right - box.left + 4, box.bottom - box.top + 8);
      context.clip();
      context.globalAlpha = runs.length > 400 ? 0.45 : 0.8;
      spots = runs.map((run) => {
        const jitter = ((run * 2654435761) % 1000) / 1000 - 0.5;
        const px = continuous ? x(param.numbers[param.of[run]]) : slot(param.of[run]) + jitter * Math.min(26, wide * 0.5);
        const py = Math.max(box.top, Math.min(box.bottom, y(sweep.value[run])));
        context.fillStyle = ramp(0.12 + 0.88 * standing[run]);
        dot(context, px, py, runs.length > 400 ? 2 : 3);
        return [run, px, py];
      });
      context.globalAlpha = 1;
      if (!continuous) {
        param.texts.forEach((_, at) => {
          const values = runs.filter((run) => param.of[run] === at && sweep.countedSet.has(run)).map((run) => sweep.value[run]);
          if (!values.length) return;
          const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
          context.strokeStyle = palette.ink;
          context.lineWidth = 2;
          const half = Math.min(22, wide * 0.36);
          line(context, slot(at) - half, y(mean), slot(at) + half, y(mean));
        });
      }
      context.restore();
    },
    over(context) {
      for (const [run, px, py] of spots) {
        if (run !== view.focus && !view.pinned.has(run)) continue;
        context.fillStyle = palette.card; dot(context, px, py, 6.5);
        context.fillStyle = palette.mark; dot(context, px, py, 5);
      }
    },
    move(event, px, py) {
      const hit = closest(spots, px, py);
      focus(hit);
      if (hit == null) hideTip(); else runTip(event, hit);
    },
    click(event, px, py) { pin(closest(spots, px, py)); },
  });
}

function closest(spots, px, py) {
  let [best, least] = [null, 14 ** 2];
  for (const [run, x, y] of spots) {
    const far = (x - px) ** 2 + (y - py) ** 2;
    if (far < least) { least = far; best = run; }
  }
  return best;
}

/** A parameter of many numbers cut into bins of equally many runs, as one of few values. */
function binned(param) {
  if (!param.numeric || param.texts.length <= 12) return param;
  const all = param.of.filter((at) => at != null).map((at) => param.numbers[at]).sort((a, b) => a - b);
  const edges = [...new Set([0, 1, 2, 3, 4, 5].map((i) => all[Math.floor((i * all.length) / 6)]))];
  const short = (value) => String(+value.toPrecision(2));
  const place = (value) => edges.reduce((found, edge, i) => (value >= edge ? i : found), 0);
  return { ...param, texts: edges.map((edge, i) => `${short(edge)} – ${short(i + 1 < edges.length ? edges[i + 1] : all[all.length - 1])}`), of: param.of.map((at) => (at == null ? null : place(param.numbers[at]))) };
}

function heatPanel(sweep) {
  const params = varying().filter((param) => param.texts.length > 1 && (param.numeric || param.texts.length <= 30) && !sweep.repeat.includes(param.name)).map(binned);
  if (params.length < 2 || !sweep.target || !sweep.counted.length) return null;
  const telling = [...sweep.effects].sort((a, b) => b.clear - a.clear || b.share - a.share);
  const rank = new Map(telling.map((effect, place) => [effect.name, place]));
  const sorted = [...params].sort((a, b) => (rank.get(a.name) ?? 99) - (rank.get(b.name) ?? 99));
  const state = { rows: sorted[0].name, columns: sorted[1].name, what: 'mean' };
  const pick = (key) => el('select', { 'aria-label': key, onchange: (event) => { state[key] = event.target.value; paint(); } },
    params.map((param) => el('option', { value: param.name, selected: param.name === state[key] }, param.short)));
  const what = el('select', { 'aria-label': 'of each cell', onchange: (event) => { state.what = event.target.value; paint(); } }, el('option', { value: 'mean' }, 'mean'), el('option', { value: 'best' }, 'best'));
  const host = el('div', { class: 'heat' });
  function paint() {
    const [down, across] = [state.rows, state.columns].map((name) => params.find((param) => param.name === name));
    const cells = new Map();
    for (const run of view.shown) {
      if (!sweep.countedSet.has(run) || down.of[run] == null || across.of[run] == null) continue;
      const key = down.of[run] + ',' + across.of[run];
      cells.set(key, [...(cells.get(key) || []), sweep.value[run]]);
    }
    const least = sweep.target.direction === 'min';
    const figure = (values) => (state.what === 'mean' ? values.reduce((sum, v) => sum + v, 0) / values.length : least ? Math.min(...values) : Math.max(...values));
    const figures = new Map([...cells].map(([key, values]) => [key, figure(values)]));
    const order = [...new Set(figures.values())].sort((a, b) => (least ? b - a : a - b));
    host.style.gridTemplateColumns = `auto repeat(${across.texts.length}, minmax(52px, 1fr))`;
    host.replaceChildren(
      el('div', { class: 'side', title: `${down.name} \\ ${across.name}` }, ''), ...across.texts.map((text) => el('div', { class: 'top', title: `${across.name}=${text}` }, text)),
      ...down.texts.flatMap((text, i) => [
        el('div', { class: 'side', title: `${down.name}=${text}` }, text),
        ...across.texts.map((other, j) => {
          const value = figures.get(i + ',' + j);
          if (value === undefined) return el('div', { class: 'none', title: 'no run that ended well' }, '–');
          const share = order.length > 1 ? order.indexOf(value) / (order.length - 1) : 1;
          const count = cells.get(i + ',' + j).length;
          return el('div', { style: { background: ramp(share), color: onRamp(share) }, title: `${down.name}=${text}, ${across.name}=${other}: ${fmt(value, 5)} (${plural(count, 'run')})` }, fmt(value));
        }),
      ]));
  }
  listen('shown', paint);
  return { card: el('section', { class: 'card block', id: 'heat' },
    el('div', { class: 'head' }, el('h2', {}, 'Two at a time'), pick('rows'), el('span', { class: 'hint' }, '×'), pick('columns'), what), host), paint };
}

const SHOWN_LOGS = 8;

function failuresPanel(sweep) {
  if (!sweep.failures.length) return null;
  const groups = sweep.failures.map((group) => {
    const withLog = group.runs.filter((run) => sweep.tails[run]).sort((a, b) => (b === group.example) - (a === group.example));
    const list = el('div', {}, withLog.slice(0, SHOWN_LOGS).map((run) => {
      const details = el('details', { ontoggle: () => {
        if (details.open && details.childElementCount === 1) details.append(el('pre', { class: 'log' }, sweep.tails[run].join('\n') || '(it printed nothing)'));
      } }, el('summary', {}, el('b', {}, runName(run)), '  ', el('span', { class: 'hint' }, settingsOf(run))));
      return details;
    }));
    const first = list.querySelector('details');
    if (first && group === sweep.failures[0]) { first.open = true; first.append(el('pre', { class: 'log' }, sweep.tails[withLog[0]].join('\n') || '(it printed nothing)')); }
    const firsts = withLog.slice(0, SHOWN_LOGS);
    const rest = group.runs.length - Math.min(SHOWN_LOGS, withLog.length);
    return el('div', { class: 'block' }, el('div', { class: 'fail' }, el('div', { class: 'count' }, group.runs.length),
      el('div', { class: 'what' }, stateTag(group.state), ' ', el('span', { class: 'mono' }, group.cause),
        group.common.length ? el('div', { class: 'common' }, commonText(group)) : null)),
      list, rest > 0 ? el('p', { class: 'hint' }, `and ${rest} more of the same: ${group.runs.filter((run) => !firsts.includes(run)).slice(0, 30).map((run) => sweep.runs.number[run]).join(', ')}${rest > 30 ? ', …' : ''}`) : null);
  });
  return { card: el('section', { class: 'card block', id: 'failures' }, el('div', { class: 'head' }, el('h2', {}, 'Last words of the runs that failed')), groups), paint() {} };
}

function stateTag(state) { return el('span', { class: 'tag', style: { background: `var(--s-${state})` } }, words(state)); }
function commonText(group) { return (group.runs.length > 1 ? `all ${group.runs.length} have ` : 'it has ') + group.common.join(', '); }
