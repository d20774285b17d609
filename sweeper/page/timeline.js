// When what ran where: a lane for each GPU, its runs, and the gaps in which it stood idle.

function timelinePanel(sweep) {
  if (!sweep.tries.length) return null;
  const start = Math.min(...sweep.tries.map((one) => one[2] - one[5]));
  const end = Math.max(...sweep.tries.map((one) => one[3]));
  const lane = sweep.lanes.length > 12 ? 20 : 30;
  const host = el('div');
  let x = null;
  const used = [...new Set(sweep.tries.map((one) => DATA.states[one[4]]))];
  const plot = chart(host, {
    height: sweep.lanes.length * lane + 50,
    margin: (box) => ({ left: Math.min(box.width * 0.25, 24 + 7.2 * Math.max(...sweep.lanes.map((name) => name.length))), right: 10, top: 8, bottom: 34 }),
    label: 'timeline of runs by GPU',
    draw(context, box) {
      x = scale(start, end, box.left, box.right);
      context.textBaseline = 'top';
      context.textAlign = 'center';
      let written = -Infinity;
      for (const tick of timeTicks(start, end, Math.floor((box.right - box.left) / 110))) {
        const at = Math.round(x(tick.at)) + 0.5;
        context.strokeStyle = palette.line;
        line(context, at, box.top, at, box.bottom);
        context.fillStyle = palette.soft;
        const half = context.measureText(tick.text).width / 2;
        const place = Math.min(Math.max(at, box.left + half), box.right - half);
        if (place - half < written + 8) continue; // beside a date there is no room for the next hour
        context.fillText(tick.text, place, box.bottom + 8);
        written = place + half;
      }
      context.textAlign = 'right';
      context.textBaseline = 'middle';
      sweep.lanes.forEach((name, i) => { context.fillStyle = palette.soft; context.fillText(clip(name, 24), box.left - 10, middle(i, box)); });
      const tall = lane - 8;
      for (const [i, from, to] of sweep.gaps) {
        const [left, right] = [x(from), x(to)];
        if (right - left < 0.7) continue;
        context.save();
        context.beginPath();
        context.rect(left, middle(i, box) - tall / 2, right - left, tall);
        context.clip();
        context.strokeStyle = palette.bad; context.globalAlpha = 0.55; context.lineWidth = 1;
        for (let at = left - tall; at < right; at += 5) line(context, at, middle(i, box) + tall / 2, at + tall, middle(i, box) - tall / 2);
        context.restore();
      }
      for (const one of sweep.tries) wait(context, box, one);
      for (const one of sweep.tries) bar(context, box, one, view.shown.has(one[0]) ? 1 : 0.22);
    },
    over(context, box) {
      context.strokeStyle = palette.ink;
      context.lineWidth = 2;
      for (const one of sweep.tries) {
        if (one[0] !== view.focus && !view.pinned.has(one[0])) continue;
        context.strokeRect(x(one[2]) - 0.5, middle(one[1], box) - (lane - 8) / 2 - 1, Math.max(3, x(one[3]) - x(one[2])) + 1, lane - 6);
      }
    },
    move(event, px, py) {
      const i = Math.floor((py - plot.box.top) / lane);
      const time = x.invert(px);
      const slack = Math.abs(x.invert(px + 2) - time);
      const hit = sweep.tries.find((one) => one[1] === i && one[2] - slack <= time && time <= one[3] + slack);
      const gap = !hit && sweep.gaps.find((one) => one[0] === i && one[1] - slack <= time && time <= one[2] + slack);
      focus(hit ? hit[0] : null);
      if (hit) {
        const more = [`${clock(hit[3] - hit[2])} from ${when(hit[2])}`, hit[6] > 1 || view.sweep.runs.attempts[hit[0]] > 1 ? `attempt ${hit[6]}: ${words(DATA.states[hit[4]])}` : '', hit[5] > 1 ? `waited ${clock(hit[5])} for its GPU` : ''];
        runTip(event, hit[0], ...more);
      } else if (gap) showTip(event, el('b', {}, 'idle'), `${clock(gap[2] - gap[1])} between two runs`);
      else hideTip();
    },
    click() { pin(view.focus); },
  });
  function middle(i, box) { return box.top + lane * (i + 0.5); }
  function wait(context, box, one) {
    const [from, to] = [x(one[2] - one[5]), x(one[2])];
    if (to - from < 1) return;
    context.globalAlpha = 0.35; context.fillStyle = palette.states.waiting;
    context.fillRect(from, middle(one[1], box) - (lane - 8) / 6, to - from, (lane - 8) / 3);
    context.globalAlpha = 1;
  }
  function bar(context, box, one, alpha) {
    const tall = lane - 8;
    const [left, right] = [x(one[2]), Math.max(x(one[3]), x(one[2]) + 1.5)];
    const room = right - left > 4 ? 0.5 : 0;
    context.globalAlpha = alpha;
    context.fillStyle = palette.states[DATA.states[one[4]]];
    context.beginPath();
    if (context.roundRect && right - left > 6) context.roundRect(left + room, middle(one[1], box) - tall / 2, right - left - 2 * room, tall, 3);
    else context.rect(left + room, middle(one[1], box) - tall / 2, right - left - 2 * room, tall);
    context.fill();
    const name = String(sweep.runs.number[one[0]]);
    if (right - left > 9 * name.length + 8) {
      context.fillStyle = palette.card; context.textAlign = 'center'; context.textBaseline = 'middle';
      context.fillText(name, (left + right) / 2, middle(one[1], box) + 0.5);
    }
    context.globalAlpha = 1;
  }
  listen('shown', () => plot.paint());
  listen('focus', () => plot.paintOver());
  const idle = sweep.gaps.reduce((sum, gap) => sum + gap[2] - gap[1], 0);
  return { card: el('section', { class: 'card block', id: 'timeline' },
    el('div', { class: 'head' }, el('h2', {}, 'The night, lane by lane'), el('div', { class: 'legend' },
      used.map((state) => el('span', {}, el('i', { class: 'dot', style: { background: `var(--s-${state})` } }), words(state))),
      sweep.gaps.length ? el('span', {}, `▨ idle between runs: ${clock(idle)}`) : null)), host), paint: plot.paint };
}

function timeTicks(start, end, count) {
  const steps = [1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800, 2592000];
  const step = steps.find((one) => (end - start) / one <= Math.max(2, count)) || 31536000;
  const zone = new Date(start * 1000).getTimezoneOffset() * 60;
  const ticks = [];
  let day = '';
  for (let at = Math.ceil((start - zone) / step) * step + zone; at <= end; at += step) {
    const date = new Date(at * 1000);
    const today = date.toLocaleDateString([], { day: 'numeric', month: 'short' });
    const hour = date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', ...(step < 60 ? { second: '2-digit' } : {}) });
    ticks.push({ at, text: step >= 86400 ? today : today === day ? hour : `${today} ${hour}` });
    day = today;
  }
  return ticks;
}
