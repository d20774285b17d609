// The filter that every picture obeys, and the table: sortable, by run or by configuration.

function fieldsOf(sweep) {
  const fields = new Map();
  const put = (name, read) => { if (!fields.has(name)) fields.set(name, read); };
  for (const param of sweep.params) put(param.name, (run) => (param.of[run] == null ? null : param.numeric ? param.numbers[param.of[run]] : param.texts[param.of[run]]));
  for (const param of sweep.params) put(param.short, fields.get(param.name));
  for (const metric of sweep.metrics) {
    put(metric.name, (run) => metric.last[run]);
    if (metric.best) put(metric.name + '_best', (run) => metric.best[run]);
  }
  put('state', stateOf);
  put('run', (run) => sweep.runs.number[run]);
  put('gpu', (run) => sweep.runs.gpus[run]);
  put('time', (run) => sweep.runs.seconds[run]);
  put('git', (run) => sweep.runs.git[run]);
  return fields;
}

/** What is typed, as a test of a run: words that any field contains, and conditions like ``lr<0.1``. All must hold. */
function parseFilter(text, fields) {
  const tests = [];
  for (const token of text.match(/"[^"]*"|\S+/g) || []) {
    const match = token.match(/^(.+?)(<=|>=|!=|==|=|<|>)(.*)$/);
    const read = match && fields.get(match[1]);
    if (read) {
      const wanted = match[3].replace(/^["']|["']$/g, '');
      const number = wanted === '' ? NaN : Number(wanted);
      tests.push((run) => {
        const value = read(run);
        if (value == null) return match[2] === '!=';
        const same = typeof value === 'number' && !Number.isNaN(number) ? value === number : String(value).toLowerCase() === wanted.toLowerCase();
        if (match[2] === '=' || match[2] === '==') return same;
        if (match[2] === '!=') return !same;
        if (typeof value !== 'number' || Number.isNaN(number)) return false;
        return { '<': value < number, '>': value > number, '<=': value <= number, '>=': value >= number }[match[2]];
      });
    } else {
      const word = token.replaceAll('"', '').toLowerCase();
      tests.push((run) => haystack(run).includes(word));
    }
  }
  return (run) => tests.every((test) => test(run));
}

const haystacks = new WeakMap();
function haystack(run) {
  const sweep = view.sweep;
  if (!haystacks.has(sweep)) haystacks.set(sweep, []);
  const kept = haystacks.get(sweep);
  if (kept[run] === undefined) {
    const parts = sweep.params.map((param) => `${param.name}=${paramText(param, run)}`);
    kept[run] = [sweep.runs.number[run], stateOf(run), words(stateOf(run)), sweep.runs.cause[run], sweep.goneSet.has(run) ? 'gone' : '', ...parts].join(' ').toLowerCase();
  }
  return kept[run];
}

function filterBar(sweep) {
  const fields = fieldsOf(sweep);
  const present = DATA.states.filter((_, i) => sweep.runs.state.includes(i));
  const off = new Set();
  const count = el('span', { class: 'count', id: 'count', 'aria-live': 'polite' });
  const example = varying().find((param) => param.numeric && param.short.length < 16 && !/\s/.test(param.short));
  const input = el('input', { type: 'search', id: 'filter', placeholder: `filter: ${example ? `${example.short}>=${example.texts[Math.floor(example.texts.length / 2)]}` : 'a word'}  state=done`, 'aria-label': 'filter runs', oninput: apply, spellcheck: 'false', autocomplete: 'off' });
  const states = present.length < 2 ? [] : present.map((state) => {
    const button = el('button', { class: 'state', type: 'button', 'aria-pressed': 'true', onclick: () => {
      if (off.has(state)) off.delete(state); else off.add(state);
      button.setAttribute('aria-pressed', String(!off.has(state)));
      apply();
    } }, el('i', { class: 'dot', style: { background: `var(--s-${state})` } }), words(state));
    return button;
  });
  function apply() {
    const test = parseFilter(input.value, fields);
    view.shown = new Set(sweep.value.map((_, run) => run).filter((run) => !off.has(stateOf(run)) && test(run) && [...view.brushes.values()].every((brush) => brush.test(run))));
    count.textContent = view.shown.size === sweep.value.length ? plural(sweep.value.length, 'run') : `${view.shown.size} of ${plural(sweep.value.length, 'run')}`;
    tell('shown');
  }
  listen('filter', apply);
  apply();
  return el('div', { class: 'filter' }, el('h2', {}, 'Explore'), input, states, count);
}

const PAGE = 100;

function tablePanel(sweep, standing) {
  const state = { key: null, down: false, rows: PAGE, grouped: sweep.configurations.length > 0 };
  const main = sweep.target && sweep.metrics.find((metric) => metric.name === sweep.target.name);
  const others = sweep.metrics.filter((metric) => metric !== main && metric.direction && metric.last.filter((value) => value != null).length > 0.3 * sweep.value.length).slice(0, 3);
  const best = (metric) => (!sweep.last && metric.best ? metric.best : metric.last);
  const title = (metric) => (!sweep.last && metric.best ? metric.name + '_best' : metric.name);
  const worse = (metric) => metric.direction === 'max' || (metric === main && sweep.target.direction === 'max');

  const numberColumn = (name, values, text, extra) => ({ name, num: true, value: (run) => values[run], text: (run) => text(values[run]), ...extra });
  const byRun = [
    numberColumn('#', sweep.runs.number, String),
    ...(main ? [numberColumn(title(main), sweep.value, (value) => fmt(value, sweep.digits), { main: true, high: worse(main) })] : []),
    ...varying().map((param) => ({ name: param.name, title: param.short, num: param.numeric, value: (run) => (param.of[run] == null ? null : param.numeric ? param.numbers[param.of[run]] : param.texts[param.of[run]]), text: (run) => paramText(param, run) })),
    ...others.map((metric) => numberColumn(title(metric), best(metric), (value) => fmt(value, digitsFor(best(metric))), { high: worse(metric) })),
    { name: 'state', value: stateText, text: stateText, state: true },
    numberColumn('time', sweep.runs.seconds, clock),
    ...(sweep.runs.gpus.some(Boolean) ? [{ name: 'GPU', value: (run) => sweep.runs.gpus[run], text: (run) => sweep.runs.gpus[run] }] : []),
    ...(new Set(sweep.runs.git.filter(Boolean)).size > 1 ? [{ name: 'git', value: (run) => sweep.runs.git[run], text: (run) => sweep.runs.git[run] }] : []),
    ...(sweep.runs.cause.some(Boolean) ? [{ name: 'cause', value: (run) => sweep.runs.cause[run], text: (run) => sweep.runs.cause[run] }] : []),
  ];
  const kept = varying().filter((param) => !sweep.repeat.includes(param.name));
  const byGroup = [
    { name: main ? title(main) : 'value', num: true, main: true, high: main && worse(main), value: (one) => one.mean, text: (one) => (one.mean == null ? '' : one.std == null ? [fmt(one.mean)] : spread(one.mean, one.std, sweep.places)) },
    { name: 'n', num: true, value: (one) => one.n, text: (one) => String(one.n) },
    ...kept.map((param) => ({ name: param.name, title: param.short, num: param.numeric, value: (one) => (param.numeric ? paramNumber(param, one.runs[0]) : paramText(param, one.runs[0])), text: (one) => paramText(param, one.runs[0]) })),
    { name: 'runs', value: (one) => one.runs[0], text: (one) => one.runs.map((run) => sweep.runs.number[run]).join(', ') },
    { name: 'states', value: (one) => states(one), text: states },
  ];
  function states(one) {
    const count = new Map();
    for (const run of one.runs) { const state = sweep.goneSet.has(run) ? 'gone' : stateOf(run); count.set(state, (count.get(state) || 0) + 1); }
    return [...count].map(([name, many]) => `${many} ${words(name)}`).join(', ');
  }
  const head = el('tr');
  const body = el('tbody');
  const more = el('button', { class: 'quiet more', type: 'button', onclick: () => { state.rows *= 4; paint(); } });
  const by = el('button', { class: 'quiet', type: 'button', 'aria-pressed': String(state.grouped), onclick: () => {
    state.grouped = !state.grouped; state.key = null; by.setAttribute('aria-pressed', String(state.grouped)); paint();
  } }, `average over ${sweep.repeat.join(', ')}`);

  function items() {
    if (state.grouped) return sweep.configurations.filter((one) => one.runs.some((run) => view.shown.has(run)));
    return sweep.order.filter((run) => view.shown.has(run));
  }
  function paint() {
    const columns = state.grouped ? byGroup : byRun;
    head.replaceChildren(...columns.map((column) => el('th', { class: column.num ? 'num' : '', scope: 'col', title: column.name, 'aria-sort': state.key === column.name ? (state.down ? 'descending' : 'ascending') : 'none' },
      el('button', { type: 'button', onclick: () => {
        if (state.key === column.name) state.down = !state.down; else { state.key = column.name; state.down = Boolean(column.high); }
        paint();
      } }, column.title || column.name))));
    let rows = items();
    const column = columns.find((one) => one.name === state.key);
    if (column) {
      const known = rows.filter((row) => column.value(row) != null && column.value(row) !== '');
      const rest = rows.filter((row) => column.value(row) == null || column.value(row) === '');
      const compare = (a, b) => (typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true }));
      known.sort((a, b) => compare(column.value(a), column.value(b)) * (state.down ? -1 : 1));
      rows = [...known, ...rest];
    }
    body.replaceChildren(...rows.slice(0, state.rows).map((row) => {
      const run = state.grouped ? row.runs[0] : row;
      const line = el('tr', {
        onpointerenter: () => focus(run), onpointerleave: () => focus(null), onclick: () => pin(run),
      }, columns.map((one) => el('td', { class: [one.num ? 'num' : '', one.main ? 'main' : ''].join(' ').trim(), title: one.name === 'cause' ? one.text(row) : false },
        one.state ? [el('i', { class: 'dot', style: { background: `var(--s-${stateOf(run)})` } }), stateText(run)] : one.text(row))));
      line.dataset.run = run;
      line.classList.toggle('unranked', !(state.grouped ? row.runs : [run]).some((one) => sweep.countedSet.has(one)));
      return line;
    }));
    if (!rows.length) body.append(el('tr', {}, el('td', { colspan: columns.length, class: 'empty' }, 'No run fits the filter.')));
    more.hidden = rows.length <= state.rows;
    more.textContent = `${rows.length - state.rows} more`;
    mark();
  }
  function mark() {
    for (const row of body.children) {
      const run = Number(row.dataset.run);
      row.classList.toggle('on', run === view.focus);
      row.classList.toggle('pinned', view.pinned.has(run));
    }
  }
  listen('shown', paint);
  listen('focus', mark);
  return { card: el('section', { class: 'card block', id: 'runs' },
    el('div', { class: 'head' }, el('h2', {}, 'Runs'), sweep.configurations.length ? by : null),
    el('div', { class: 'scroll' }, el('table', {}, el('thead', {}, head), body)), more), paint };
}

/** ``0.9421 ± 0.0031``: with as many places as all such means have, as on the terminal. */
function spread(mean, std, places) {
  if (places == null) return [fmt(mean), el('span', { class: 'pm' }, ' ± ' + fmt(std, 2))];
  return [mean.toFixed(places), el('span', { class: 'pm' }, ' ± ' + std.toFixed(places))];
}
