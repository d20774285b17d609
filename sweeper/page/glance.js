// The five answers at a glance: the night, the best, what mattered, what failed, what next.

function glance(sweep, standing) {
  return el('div', { class: 'glance' }, night(sweep), bestCard(sweep), mattered(sweep), failed(sweep), next(sweep));
}

function card(question, wide, ...children) { return el('section', { class: 'card' + (wide ? ' wide' : '') }, el('h3', {}, question), ...children); }
function lines(sweep, about) { return sweep.summary.filter((one) => one.about === about); }
/** With a capital, unless it begins with a name of the user's. */
function sentence(text) { return /^[a-z]+ /.test(text) && !text.startsWith(view.sweep.target?.name + ' ') ? text[0].toUpperCase() + text.slice(1) : text; }

function notes(sweep, ...abouts) { return abouts.flatMap((about) => lines(sweep, about)).map((one) => el('p', { class: 'note ' + (one.tone === 'warn' ? 'warn' : 'plain') }, sentence(one.text))); }

function night(sweep) {
  const total = Object.values(sweep.counts).reduce((sum, count) => sum + count, 0);
  const states = DATA.states.filter((state) => sweep.counts[state]).sort((a, b) => (b === 'done') - (a === 'done'));
  const hours = sweep.hours;
  return card('Did the night go well?', false,
    el('div', { class: 'big' }, sweep.counts.done || 0, el('small', {}, ` of ${total} done`)),
    el('div', { class: 'bar', role: 'img', 'aria-label': sweep.line }, states.map((state) => el('i', { style: { 'flex-grow': sweep.counts[state], background: `var(--s-${state})` }, title: `${sweep.counts[state]} ${words(state)}` }))),
    el('div', { class: 'keys' }, states.map((state) => el('span', {}, el('i', { class: 'dot', style: { background: `var(--s-${state})` } }), el('b', {}, sweep.counts[state]), ' ', words(state)))),
    notes(sweep, 'code', 'gone'),
    hours.wall ? el('div', { class: 'facts' },
      el('div', {}, el('b', {}, clock(hours.compute)), 'of computing'),
      el('div', {}, el('b', {}, clock(hours.wall)), 'on the wall'),
      hours.gpus ? el('div', {}, el('b', {}, clock(hours.idle)), `idle between runs, ${plural(hours.gpus, 'GPU')}`) : null,
      hours.waited > 1 ? el('div', {}, el('b', {}, clock(hours.waited)), 'waited for GPUs') : null) : null);
}

const CHIPS = 10;

function bestCard(sweep) {
  const target = sweep.target;
  if (!target || sweep.best == null) return card('What is best?', false, notes(sweep, 'best', 'unranked'));
  const group = sweep.configurations[0];
  const value = group ? (group.std == null ? [fmt(group.mean)] : spread(group.mean, group.std, sweep.places)) : [fmt(sweep.value[sweep.best], sweep.digits)];
  const run = group ? group.runs[0] : sweep.best;
  const tied = sweep.tied > 1;
  const kept = tied ? [] : varying().filter((param) => !sweep.repeat.includes(param.name) && paramText(param, run) !== '');
  const share = new Map(sweep.effects.map((effect) => [effect.name, effect.share]));
  const told = kept.length > CHIPS ? [...kept].sort((a, b) => (share.get(b.name) ?? -1) - (share.get(a.name) ?? -1)) : kept;
  const host = el('div', { class: 'spark' });
  const curve = sweep.curves.find((one) => one.name === target.name);
  const made = card('What is best?', false,
    el('div', { class: 'big' }, value, el('small', {}, ' ' + target.name)),
    tied ? notes(sweep, 'best') : el('div', { class: 'keys' }, group ? `mean ± std of ${plural(group.n, 'run')}, ${sweep.last ? 'last value' : 'best over the curve'}` : `${runName(run)}${stateText(run) === 'done' ? '' : ', ' + stateText(run)}, ${sweep.last ? 'last value' : 'best over the curve'}, ${target.direction === 'min' ? 'lowest' : 'highest'} of ${sweep.counted.length}`),
    el('div', { class: 'chips' }, told.slice(0, CHIPS).map((param) => el('span', { class: 'chip', title: `${param.name}=${paramText(param, run)}` }, el('span', {}, param.short + ' '), clip(paramText(param, run), 60))),
      told.length > CHIPS ? el('span', { class: 'chip' }, el('span', {}, `and ${told.length - CHIPS} more`)) : null),
    notes(sweep, 'caution', 'unranked', 'metric'), host);
  if (curve && curve.of[run] != null && curve.y[run].length > 3) spark(host, curve, group ? group.runs : [run]);
  return made;
}

function spark(host, curve, runs) {
  const plot = chart(host, {
    height: 64, margin: { left: 0, right: 40, top: 6, bottom: 6 }, label: 'the best run’s curve',
    draw(context, box) {
      const known = runs.filter((run) => curve.of[run] != null);
      const [low, high] = spanOf(known.flatMap((run) => curve.y[run]), { trim: true });
      const all = known.flatMap((run) => curve.steps[curve.of[run]]);
      const [x, y] = [scale(all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b)), box.left + 2, box.right), scale(low, high, box.bottom, box.top)];
      context.strokeStyle = palette.r3; context.fillStyle = palette.r3; context.lineWidth = 2; context.lineJoin = 'round';
      for (const run of known) {
        context.beginPath();
        curve.steps[curve.of[run]].forEach((step, i) => { if (curve.y[run][i] != null) context.lineTo(x(step), y(curve.y[run][i])); });
        context.stroke();
      }
      const ys = curve.y[known[0]];
      const last = ys[ys.length - 1];
      if (last == null) return;
      dot(context, box.right, y(last), 3);
      context.textBaseline = 'middle'; context.fillStyle = palette.soft; context.textAlign = 'left';
      context.fillText(fmt(last, 3), box.right + 6, y(last));
    },
  });
  listen('theme', plot.paint);
}

function mattered(sweep) {
  if (!sweep.effects.length) return card('What mattered?', false, el('p', { class: 'empty' }, sweep.target ? 'Too few runs that ended well to tell.' : 'No metric yet.'));
  const rows = sweep.effects.slice(0, 8).flatMap((effect) => [
    el('div', { class: 'name' + (effect.clear ? '' : ' doubt'), title: effect.name + (effect.clear ? '' : ': may be chance') }, shortName(effect.name)),
    el('div', { class: 'track' }, el('i', { style: { width: Math.max(1, effect.share * 100) + '%' } })),
    el('div', { class: 'pct' }, percent(effect.share)),
  ]);
  const top = sweep.effects[0];
  const levels = top.levels.filter((level) => level[1] != null);
  const means = levels.map((level) => level[1]);
  const floor = Math.min(...means) >= 0 ? 0 : Math.min(...means);
  const barOf = (mean) => Math.max(1.5, (100 * (mean - floor)) / (Math.max(...means) - floor || 1));
  const sorted = [...levels].sort((a, b) => (sweep.target.direction === 'min' ? a[1] - b[1] : b[1] - a[1]));
  return card('What mattered?', false, el('div', { class: 'effects' }, rows),
    el('div', { class: 'effects levels' }, el('h4', {}, `mean ${sweep.target.name} by ${shortName(top.name)}`), sorted.slice(0, 5).flatMap((level, i) => [
      el('div', { class: 'name', title: level[0] }, level[0]),
      el('div', { class: 'track', title: `${plural(level[3], 'run')}${level[2] == null ? '' : ', ± ' + fmt(level[2], 2)}` }, el('i', { style: { width: barOf(level[1]) + '%', background: ramp(1 - i / Math.max(1, Math.min(5, sorted.length) - 1)) } })),
      el('div', { class: 'pct' }, fmt(level[1], top.digits)),
    ])),
    el('p', { class: 'hint' }, 'Share of the variance of ', sweep.target.name, ' that each explains', sweep.noise != null ? `; between repeats ${percent(sweep.noise)}` : '', sweep.effects.some((effect) => !effect.clear) ? '; pale: may be chance' : '', '.'));
}

function failed(sweep) {
  if (!sweep.failures.length) return card('What failed, and why?', true, el('p', { class: 'well' }, 'Nothing failed.'));
  return card('What failed, and why?', true, sweep.failures.slice(0, 4).map((group) => el('div', { class: 'fail' },
    el('div', { class: 'count' }, group.runs.length),
    el('div', { class: 'what' },
      el('div', { class: 'cause', title: group.cause }, stateTag(group.state), ' ', el('span', { class: 'mono' }, group.cause)),
      group.common.length ? el('div', { class: 'common' }, commonText(group)) : null,
      command(`sweep logs ${sweep.shellName} ${sweep.runs.number[group.example]}`)))),
  sweep.failures.length > 4 ? el('p', { class: 'hint' }, el('a', { href: '#failures' }, `${sweep.failures.length - 4} more causes`)) : null);
}

function next(sweep) {
  const found = lines(sweep, 'next');
  if (!found.length) return card('What next?', false, el('p', { class: 'well' }, 'Nothing is left to run.'));
  return card('What next?', false, el('ul', { class: 'next' }, found.map((one) => el('li', {}, sentence(one.text), one.command ? [el('br'), command(one.command)] : null))));
}

function command(text) {
  const button = el('button', { class: 'cmd', type: 'button', onclick: () => {
    const done = () => { button.classList.add('copied'); setTimeout(() => button.classList.remove('copied'), 1500); };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => select(button));
    else select(button);
  } }, el('code', {}, text));
  return button;
}

/** Where there is no clipboard (a file opened from disk), the text is marked for the user to copy. */
function select(node) { getSelection().selectAllChildren(node); }
