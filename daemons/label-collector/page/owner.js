/* The owner's page: how the labels come, how far they can be relied on, what they cost, and who is set aside. */
import { $, askToken, begin, call, element, reason, session, signOut } from './session.js';
import { bars, intervals } from './plot.js';

const REFRESH_MS = 10000, MEASURE_MS = 60000, MOST_ROWS = 5000, SHOWN = 200;
const state = { by: 'hour', settings: { currency: '' }, people: [], measured: 0, agreement: null, busy: false };

/* ---- the server ----------------------------------------------------------------------------------- */

async function get(path, query = {}) {
  const said = await call(path + '?' + new URLSearchParams(query));
  if (said.status !== 200)
    throw new Error(reason(said));
  return said.answer;
}

/* A whole list, page by page. */
async function all(path, key, query = {}) {
  const list = [];
  for (let cursor, more = true; more && list.length < MOST_ROWS;) {
    const page = await get(path, { ...query, limit: 1000, ...(cursor ? { cursor } : {}) });
    list.push(...page[key]);
    ({ cursor, more } = page);
  }
  return list;
}

async function change(path, body, method) {
  const said = await call(path, body, method);
  if (said.status >= 300)
    throw new Error(reason(said));
  return said.answer;
}

/* ---- showing -------------------------------------------------------------------------------------- */

const round = () => $('round').value;
const ofRound = () => (round() ? { round: round() } : {});
const count = (n) => n.toLocaleString();
const percent = (p) => (p * 100).toFixed(0) + ' %';
const money = (value) => value.toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 }) + ' ' + state.settings.currency;
const when = (text) => new Date(text).toLocaleString(undefined, { dateStyle: 'short', timeStyle: 'short' });

/* columns: [[words, number?]]; rows: arrays of texts or elements. */
function fill(table, columns, rows, empty) {
  const head = element('thead'), line = element('tr'), body = element('tbody');
  for (const [words, number] of columns) {
    const cell = element('th', number ? 'number' : '', words);
    cell.scope = 'col';
    line.append(cell);
  }
  head.append(line);
  for (const row of rows) {
    const tr = element('tr', row.away ? 'away' : '');
    row.cells.forEach((value, i) => {
      const cell = element(i ? 'td' : 'th', columns[i][1] ? 'number' : '');
      if (!i)
        cell.scope = 'row';
      cell.dataset.column = columns[i][0]; /* where there is no room for a table */
      cell.append(value);
      tr.append(cell);
    });
    body.append(tr);
  }
  if (rows.length === 0) {
    const cell = element('td', 'empty', empty);
    cell.colSpan = columns.length;
    const tr = element('tr');
    tr.append(cell);
    body.append(tr);
  }
  const caption = table.querySelector('caption');
  table.replaceChildren(...(caption ? [caption] : []), head, body);
}

function bar(done, of, label) {
  const progress = element('progress');
  progress.max = Math.max(of, 1);
  progress.value = done;
  progress.setAttribute('aria-label', label);
  return progress;
}

function showQueue(stats, rounds, spans) {
  const lastDay = spans.slice(-24).reduce((sum, s) => sum + s.labels, 0);
  const rate = lastDay / 24;
  const left = stats.open === 0 ? 'done' : rate === 0 ? '–' : stats.open / rate < 48 ? Math.ceil(stats.open / rate) + ' h' : Math.ceil(stats.open / rate / 24) + ' days';
  const tiles = [['Open tasks', count(stats.open)], ['Tasks', count(stats.tasks)], ['Labels', count(stats.labels)], ['Skips', count(stats.skips)],
    ['Labels in 24 h', count(lastDay)], ['At this rate', left]];
  $('tiles').replaceChildren(...tiles.map(([words, value]) => {
    const tile = element('div', 'tile');
    tile.append(element('dt', '', words), element('dd', '', value));
    return tile;
  }));
  fill($('rounds'), [['Round'], ['Judged'], ['Open', true], ['Tasks', true], ['Labels', true]],
    rounds.map((r) => ({ cells: [r.round || '(none)', bar(r.tasks - r.open, r.tasks, 'Judged of round ' + r.round), count(r.open), count(r.tasks), count(r.labels)] })),
    'No tasks yet');
  const chosen = round();
  $('round').replaceChildren(new Option('all', ''), ...rounds.filter((r) => r.round).map((r) => new Option(r.round, r.round)));
  $('round').value = chosen;
}

function showThroughput({ by, spans }) {
  const words = (s, short) => {
    const time = new Date(s.from);
    return by === 'hour'
      ? time.toLocaleString(undefined, short ? { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' } : { dateStyle: 'short', timeStyle: 'short' })
      : time.toLocaleDateString(undefined, short ? { day: 'numeric', month: 'short', timeZone: 'UTC' } : { dateStyle: 'medium', timeZone: 'UTC' });
  };
  const total = spans.reduce((sum, s) => sum + s.labels, 0);
  const label = 'Labels by ' + by + ': ' + count(total) + ' in the last ' + spans.length + ' ' + by + 's, at most ' + count(Math.max(0, ...spans.map((s) => s.labels))) + ' in one';
  $('throughput').replaceChildren(bars(spans.map((s) => ({ value: s.labels, label: words(s, true), title: words(s) + ': ' + count(s.labels) })),
    label, Math.max($('throughput').clientWidth, 280)));
  fill($('throughput-table'), [['From'], ['Labels', true]], spans.filter((s) => s.labels).reverse().map((s) => ({ cells: [words(s), count(s.labels)] })), 'None in this time');
  $('by-hour').setAttribute('aria-pressed', String(by === 'hour'));
  $('by-day').setAttribute('aria-pressed', String(by === 'day'));
}

function showAgreement(a) {
  $('agreement-text').textContent = a.answers
    ? count(a.answers) + ' answers to pairs, ' + count(a.pairs) + ' pairs judged by two people or more, of the newest labels. 0 is chance, 1 is perfect; bars are 95 % intervals.'
    : 'Nothing was judged yet.';
  const width = $('agreement').clientWidth;
  const rows = [
    { name: 'Krippendorff’s α', note: 'all answers', ...a.alpha },
    { name: 'Fleiss’ κ', note: 'pairs with the commonest number of answers', ...a.fleiss },
    { name: 'Cohen’s κ', note: a.cohen.between ? a.cohen.between.join(' and ') : 'two people who share most', ...a.cohen },
  ];
  const bias = { name: 'Position bias', note: 'how often the answer shown first won; ½ is none', ...a.first_shown_chosen };
  $('agreement').replaceChildren(intervals(rows, -0.5, 1, 0, width), intervals([{ name: 'Raw agreement', note: 'before chance is taken off', ...a.raw }, bias], 0, 1, 0.5, width));
}

/* ---- people ----------------------------------------------------------------------------------------- */

function gold(s) {
  return s.gold_seen ? s.gold_right + ' of ' + s.gold_seen + ' (' + percent(s.gold_low) + '–' + percent(s.gold_high) + ')' : '–';
}

function setAside(scope, s) {
  const button = element('button', s.quarantine === null ? '' : 'primary', s.quarantine === null ? 'Quarantine' : 'Readmit');
  button.type = 'button';
  button.setAttribute('aria-label', button.textContent + ' ' + s.name);
  button.dataset.name = s.name;
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      const why = s.quarantine === null ? 'set aside on the owner’s page' : null;
      const said = await change('/api/v1/quarantine', { scope, name: s.name, who: session.name || 'owner', why });
      toast(s.name + (why ? ' is set aside: ' : ' counts again: ') + count(said.labels) + ' labels');
      await refresh();
      document.querySelector('#' + (scope === 'labeler' ? 'people' : 'sources') + ' button[data-name="' + CSS.escape(s.name) + '"]')?.focus();
    } catch (error) {
      toast(error.message, 8000);
      button.disabled = false;
    }
  });
  return button;
}

function nameCell(s) {
  const box = element('span', '', s.name);
  if (s.quarantine !== null)
    box.append(' ', element('span', 'badge', 'quarantine: ' + s.quarantine));
  return box;
}

function showPeople() {
  const wanted = $('filter').value.trim().toLowerCase();
  const measured = new Map((state.agreement?.labelers || []).map((l) => [l.labeler, l]));
  const rows = state.people.filter((s) => s.name.toLowerCase().includes(wanted));
  fill($('people'), [['Name'], ['Labels', true], ['Skips', true], ['Seconds a label', true], ['Gold answers right', true], ['Agrees (Dawid–Skene)', true], ['Weight', true], ['Cost', true], ['']],
    rows.slice(0, SHOWN).map((s) => {
      const m = measured.get(s.name);
      return {
        away: s.quarantine !== null,
        cells: [nameCell(s), count(s.labels), count(s.skips || 0), s.seconds && s.labels ? (s.seconds / s.labels).toFixed(1) : '–', gold(s),
          m && m.accuracy !== null ? percent(m.accuracy) : '–', s.weight.toFixed(2) + (s.weight_by_hand ? ' (set)' : m && Math.abs(m.weight - s.weight) > 0.01 ? ' → ' + m.weight.toFixed(2) : ''),
          money(s.cost), setAside('labeler', s)],
      };
    }), wanted ? 'Nobody of that name' : 'Nobody has judged yet');
  const cost = state.people.reduce((sum, s) => sum + s.cost, 0);
  $('people-rest').textContent = (rows.length > SHOWN ? count(rows.length - SHOWN) + ' more: find them by name. ' : '') + 'All labelers: ' + money(cost) + '.';
}

function showSources(sources, vendors) {
  const servers = new Map(vendors.map((v) => [v.name, v]));
  for (const v of vendors)
    if (!sources.some((s) => s.name === v.name))
      sources.push({ name: v.name, labels: 0, quota: null, gold_seen: 0, quarantine: null, cost: 0 });
  fill($('sources'), [['Name'], ['Labels', true], ['Quota', true], ['Gold answers right', true], ['Cost', true], ['Its server'], ['']],
    sources.map((s) => {
      const v = servers.get(s.name);
      const server = v ? v.error || v.tasks.queued + ' queued, ' + v.tasks.sent + ' sent' : '–';
      return { away: s.quarantine !== null, cells: [nameCell(s), count(s.labels), s.quota === null ? '–' : count(s.quota), gold(s), money(s.cost), server, setAside('source', s)] };
    }), 'No labels yet');
}

/* ---- tokens and what was decided ---------------------------------------------------------------------- */

function showTokens(tokens) {
  $('tokens-text').textContent = session.open
    ? 'There are no tokens: whoever is on this host is the owner. Once you make one, everybody needs one; make yours (role owner) first.'
    : 'A token is shown once, when it is made.';
  fill($('tokens'), [['Name'], ['Role'], ['Made'], ['']], tokens.filter((t) => t.revoked_at === null).reverse().map((t) => {
    const button = element('button', '', 'Revoke');
    button.type = 'button';
    button.setAttribute('aria-label', 'Revoke the token of ' + t.name);
    button.addEventListener('click', () => {
      if (button.textContent === 'Revoke') { /* what is gone does not come back: asked once */
        button.textContent = 'Really revoke?';
        return;
      }
      act(() => change('/api/v1/tokens/' + t.number, undefined, 'DELETE'), t.name + '’s token is revoked');
    });
    return { cells: [t.name, t.role, when(t.made_at), button] };
  }), 'None');
}

function showAudit(deeds) {
  fill($('audit'), [['When'], ['Who'], ['What'], ['Of whom'], ['Why']], deeds.map((d) => ({ cells: [when(d.at), d.who, d.what, d.of_whom, d.why || '–'] })), 'Nothing yet');
}

async function act(work, words) {
  try {
    await work();
    toast(words);
    await refresh();
  } catch (error) {
    toast(error.message, 8000);
  }
}

async function makeToken(event) {
  event.preventDefault();
  await act(async () => {
    const made = await change('/api/v1/tokens', { role: $('token-role').value, name: $('token-name').value.trim() });
    $('token-made').replaceChildren('The token of ' + made.name + ', shown this once: ', element('code', 'secret', made.token));
    $('token-made').hidden = false;
    $('token-name').value = '';
  }, 'Made');
}

/* ---- the frame ---------------------------------------------------------------------------------------- */

let toastTimer;
function toast(text, ms = 4000) {
  $('toast').textContent = text;
  $('toast').classList.add('shown');
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $('toast').classList.remove('shown'), ms);
}

async function measure() {
  state.agreement = await get('/api/v1/agreement', ofRound());
  state.measured = performance.now();
  showAgreement(state.agreement);
}

async function refresh() {
  if (!session.known || session.role !== 'owner' || state.busy)
    return;
  state.busy = true;
  try {
    const [stats, rounds, hours, people, labelers, sources, vendors, tokens, audit] = await Promise.all([
      get('/api/v1/stats', ofRound()), all('/api/v1/rounds', 'rounds'), get('/api/v1/throughput', { by: 'hour', count: 48 }),
      all('/api/v1/standing', 'standing', { scope: 'labeler' }), all('/api/v1/labelers', 'labelers', ofRound()),
      all('/api/v1/standing', 'standing', { scope: 'source' }), get('/api/v1/vendors'), all('/api/v1/tokens', 'tokens'), get('/api/v1/audit', { limit: 15 })]);
    const times = new Map(labelers.map((l) => [l.labeler, l]));
    state.people = people.map((s) => ({ ...s, seconds: times.get(s.name)?.seconds, skips: times.get(s.name)?.skips })).sort((a, b) => b.labels - a.labels);
    showQueue(stats, rounds, hours.spans);
    $('numbers').hidden = false;
    showThroughput(state.by === 'hour' ? hours : await get('/api/v1/throughput', { by: 'day', count: 30 }));
    if (!state.agreement || performance.now() - state.measured > MEASURE_MS)
      await measure();
    showPeople();
    showSources(sources.sort((a, b) => b.labels - a.labels), vendors.vendors);
    showTokens(tokens);
    showAudit(audit.audit);
    $('news').textContent = '';
    $('news').classList.remove('trouble');
  } catch (error) {
    $('news').textContent = 'No news: ' + error.message;
    $('news').classList.add('trouble');
  }
  state.busy = false;
}

async function welcome() {
  const owner = session.role === 'owner';
  $('who').textContent = session.name + ' · sign out';
  $('who').hidden = session.open;
  $('stop').hidden = owner;
  $('stop').textContent = owner ? '' : 'You are signed in as ' + session.name + ', ' + session.role + '. This page is for the owner.';
  $('numbers').hidden = true;
  if (owner) {
    state.settings = await get('/api/v1/settings');
    refresh();
  }
}

$('who').addEventListener('click', () => (session.known ? signOut() : askToken()));
$('filter').addEventListener('input', showPeople);
$('round').addEventListener('change', () => {
  state.agreement = null;
  refresh();
});
for (const by of ['hour', 'day'])
  $('by-' + by).addEventListener('click', () => {
    state.by = by;
    refresh();
  });
$('token-form').addEventListener('submit', makeToken);
document.addEventListener('visibilitychange', () => document.hidden || refresh());
setInterval(() => document.hidden || document.activeElement?.textContent === 'Really revoke?' || refresh(), REFRESH_MS);
begin(welcome, (trouble) => {
  $('news').textContent = trouble;
});
