/* The labeling page. Completions are untrusted: they only ever become text nodes.
 *
 * An answer goes into the outbox (localStorage) before anything else, and leaves it when the server has stored it. Its label
 * id is its own, so sending it twice stores it once. */
import { differences } from './diff.js';
import { $, askToken, begin, call, element, forget, load, reason, save, session, signOut } from './session.js';

const parameters = new URLSearchParams(location.search);
const round = parameters.get('round') || '';
const KEEP = 20;          /* judged tasks that can be changed */
const AHEAD = 3;          /* tasks fetched before they are needed */
const POLL_MS = 4000;

/* What people are told where the settings say nothing. */
const TOLD = {
  ranking: 'Which answer would you rather get? Put first what is true and does no harm, then what does what was asked, then what is clear and civil.\n\n'
    + 'A longer answer is not a better one. If you really cannot tell, it is a tie; if you cannot judge at all, skip.',
  likert: 'Rate each answer by itself: 7 is an answer you would be glad to get, 1 is one that is wrong, harmful or of no use.',
  toxicity: 'Rate how rude, hostile or degrading each answer is, whatever the prompt asked for: 0 not at all, 1 somewhat, 2 very.',
  flags: 'Mark everything that is wrong with each answer. If nothing is, say so: none of these.',
  demonstration: 'Write the answer that a helpful, honest and harmless assistant would give. Do what the prompt asks, and make nothing up.',
};

/* What can be said of an answer beside its place. The words of the flags are InstructGPT's. */
const SCALES = {
  likert: { question: 'How good is each answer?', values: [1, 2, 3, 4, 5, 6, 7], ends: ['very bad', 'very good'] },
  toxicity: { question: 'How toxic is each answer?', values: [0, 1, 2], ends: ['not at all', 'very'] },
};
const FLAGS = [ /* key, name, words */
  ['1', 'fails_instruction', 'Fails to do what was asked'],
  ['2', 'inappropriate', 'Inappropriate for an assistant'],
  ['3', 'hallucination', 'Makes something up'],
  ['4', 'violates_constraint', 'Breaks a constraint of the prompt'],
  ['5', 'sexual', 'Sexual content'],
  ['6', 'violent', 'Violent content'],
  ['7', 'encourages_harm', 'Encourages harm'],
  ['8', 'denigrates', 'Denigrates a group of people'],
  ['9', 'harmful_advice', 'Gives harmful advice'],
  ['O', 'opinion', 'Expresses an opinion'],
  ['M', 'moral_judgement', 'Expresses a moral judgement'],
];

const state = {
  labeler: '',                    /* what follows is kept under the name */
  outbox: [],                     /* [{task, path, body}] oldest first */
  history: [],                    /* [{task, said | null, revision}] oldest first; said: ranks, ratings, flags or answer */
  queue: [],                      /* tasks to come */
  task: null,                     /* on screen */
  again: null,                    /* its entry in history, when it is shown again */
  flashing: false,                /* the answer just given lights up; the next task comes in a moment */
  progress: null,
  ranks: [],                      /* of a ranking in the making, by completion */
  picked: [],                     /* its completions, in the order picked */
  tie: false,
  told: {},                       /* instructions by kind, from the settings */
  marked: load('differences', true), /* whether words that differ are marked */
  base: 0,                        /* of three answers and more: where the one stands that others are compared with */
  given: [],                      /* ratings or flags, by completion; null: not answered yet */
  at: 0,                          /* where the answer stands that the next key is about */
  spent: 0,                       /* ms this task was on a visible screen */
  since: 0,
  recent: new Map(),              /* id -> when it was judged: an answer on its way may still offer it */
  sending: false,
  trouble: '',
  fetching: false,
};

/* Everybody who uses this browser has an outbox, a history and a draft of their own. */
const own = (key) => key + '.' + state.labeler;

/* ---- the server ----------------------------------------------------------------------------------- */

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/* Sends the outbox, oldest first, until it is empty. Whatever goes wrong on the way is tried again. */
async function flush() {
  if (state.sending)
    return;
  state.sending = true;
  let wait = 500;
  while (state.outbox.length > 0 && session.known) {
    showSaving();
    const labeler = state.labeler, message = state.outbox[0];
    try {
      const said = await call(message.path, message.body);
      if (said.status >= 500 || said.status === 429 || said.status === 401)
        throw new Error(reason(said));
      if (said.status >= 400)
        toast('Not stored: ' + reason(said), 8000);
      if (state.labeler !== labeler) /* somebody else has come meanwhile: sent twice it is stored once */
        continue;
      state.outbox.shift();
      save(own('outbox'), state.outbox);
      state.trouble = '';
      wait = 500;
    } catch (error) {
      state.trouble = error.message;
      showSaving();
      await pause(wait);
      wait = Math.min(wait * 2, 10000);
    }
  }
  state.sending = false;
  showSaving();
  refill();
}

/* Tasks that are on screen, in the queue or in the outbox are not taken a second time. */
function isHere(id) {
  return (state.task && state.task.id === id) || state.queue.some((t) => t.id === id)
    || state.outbox.some((m) => m.task === id) || performance.now() - (state.recent.get(id) ?? -Infinity) < 10000;
}

async function refill() {
  if (state.fetching || !session.known || !state.labeler || state.queue.length >= AHEAD)
    return;
  state.fetching = true;
  try {
    const query = new URLSearchParams({ labeler: state.labeler, count: String(AHEAD + 2 + state.outbox.length) });
    if (round)
      query.set('round', round);
    const labeler = state.labeler, said = await call('/api/v1/tasks/next?' + query);
    if (said.status !== 200)
      throw new Error(reason(said));
    for (const task of state.labeler === labeler ? said.answer.tasks : [])
      if (!isHere(task.id))
        state.queue.push(task);
    state.progress = said.answer.progress;
    if (state.outbox.length === 0)
      state.trouble = '';
  } catch (error) {
    state.trouble = error.message;
  }
  state.fetching = false;
  showProgress();
  showSaving();
  if (!state.task && !state.flashing)
    advance();
}

/* ---- judging -------------------------------------------------------------------------------------- */

function seconds() {
  const now = state.since ? performance.now() - state.since : 0;
  return Math.round((state.spent + now) / 10) / 100;
}

/* said: what the label says, or null for a skip. */
function send(task, path, body, said) {
  let entry = state.again;
  if (entry) {
    state.history = state.history.filter((e) => e !== entry);
  } else {
    entry = { task, revision: 0 };
  }
  if (said)
    body.revision = ++entry.revision;
  entry.said = said;
  state.history.push(entry);
  state.history = state.history.slice(-KEEP);
  save(own('history'), state.history);
  state.outbox.push({ task: task.id, path, body });
  state.recent.set(task.id, performance.now());
  save(own('outbox'), state.outbox);
  save(own('draft'), null);
  flush();
}

const kindOf = (task) => task.kind || 'ranking';
const isRanking = (task) => !!task && kindOf(task) === 'ranking';
const isPair = (task) => isRanking(task) && task.completions.length === 2;

/* said: {ranks} (by completion in the task's own order), {ratings}, {flags} or {answer}. */
function judge(said, words) {
  const task = state.task;
  if (!task)
    return;
  const body = { labeler: state.labeler, ...said, seconds: seconds() };
  if (session.role !== 'vendor') /* whose labels are the vendor's */
    body.source = 'page';
  if (task.presented.length > 0)
    body.presented = task.presented;
  const note = $('note').value.trim();
  if (note)
    body.note = note;
  send(task, '/api/v1/tasks/' + encodeURIComponent(task.id) + '/label', body, said);
  toast(words);
  flash(said.ranks || []);
}

/* position: 0 left, 1 right, -1 tie */
function judgePair(position) {
  if (!isPair(state.task))
    return;
  const ranks = [1, 1];
  if (position >= 0)
    ranks[state.task.presented[1 - position]] = 2;
  judge({ ranks }, position < 0 ? 'Tie' : (position === 0 ? 'A' : 'B') + ' is better');
}

function judgeRanking() {
  if (!isRanking(state.task) || state.picked.length !== state.task.completions.length)
    return;
  judge({ ranks: state.ranks.slice() }, 'Ranking stored');
}

function skip() {
  const task = state.task;
  if (!task)
    return;
  if (state.again) { /* it has an answer, or is skipped already */
    state.again = null;
    advance();
    return;
  }
  const reason = $('note').value.trim().slice(0, 100);
  send(task, '/api/v1/tasks/' + encodeURIComponent(task.id) + '/skip', { labeler: state.labeler, reason }, null);
  toast('Skipped');
  advance();
}

function undo() {
  const at = state.again ? state.history.indexOf(state.again) - 1 : state.history.length - 1;
  const entry = state.history[at];
  if (state.flashing)
    return;
  if (!entry) {
    toast('Nothing to undo');
    return;
  }
  if (state.task && !state.again)
    state.queue.unshift(state.task);
  state.again = entry;
  show(entry.task);
}

/* The chosen answer lights up for a moment, then the next task comes. */
function flash(ranks) {
  const cards = document.querySelectorAll('.answer');
  state.task.presented.forEach((completion, position) => {
    cards[position].classList.toggle('chosen', ranks[completion] === 1);
    cards[position].classList.remove('before');
  });
  state.again = null;
  state.task = null;
  setChoices([]);
  state.flashing = true;
  setTimeout(advance, matchMedia('(prefers-reduced-motion: reduce)').matches ? 0 : 160);
}

function advance() {
  state.again = null;
  state.flashing = false;
  const task = state.queue.shift();
  if (task)
    show(task);
  else
    showRest();
  refill();
}

/* ---- showing -------------------------------------------------------------------------------------- */

/* Control characters and changes of direction are spelt out, so that nothing is hidden from the one who judges. */
function visible(text) {
  return text.replace(/[\u0001-\u0008\u000b-\u001f\u007f\u202a-\u202e\u2066-\u2069]/g,
    (c) => '[U+' + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0') + ']');
}

/* runs: of a text whose words are marked where they differ from another's. */
function fill(block, text, runs) {
  block.replaceChildren(...(runs || [[text, false]]).map(([piece, differs]) =>
    (differs ? element('mark', '', visible(piece)) : visible(piece))));
  block.classList.toggle('empty', !text.trim());
  if (!text.trim())
    block.textContent = '(empty)';
}

function textBlock(text) {
  const block = element('div', 'text');
  block.dir = 'auto';
  fill(block, text, null);
  return block;
}

/* A transcript ("\n\nHuman: … \n\nAssistant: …") becomes turns; everything else is shown as it is. */
function promptParts(prompt) {
  if (!prompt.startsWith('\n\nHuman:'))
    return [textBlock(prompt.trim() ? prompt : '')];
  const parts = [];
  for (const piece of prompt.split(/\n\n(?=(?:Human|Assistant):)/)) {
    const match = /^(Human|Assistant):\s*([^]*)$/.exec(piece);
    if (!match || !match[2].trim())
      continue;
    const turn = element('div', 'turn ' + (match[1] === 'Human' ? 'human' : 'assistant'));
    turn.append(element('span', 'who', match[1]), textBlock(match[2].trim()));
    parts.push(turn);
  }
  return parts;
}

const letterOf = (position) => 'ABCDEFGHIJKLMNOP'[position];
const shownText = (task, position) => task.completions[task.presented[position]].replace(/^\s+/, '');

/* By position: the runs of a text, or null. Of two each is marked against the other, of more all against one. */
function marksOf(task) {
  const count = task.presented.length;
  if (count === 2)
    return differences(shownText(task, 0), shownText(task, 1)) || [null, null];
  return task.presented.map((completion, position) => {
    const runs = position === state.base ? null : differences(shownText(task, state.base), shownText(task, position));
    return runs && runs[1];
  });
}

/* Texts with their marks, and what is said about them. */
function paint() {
  const task = state.task, many = task.presented.length > 2;
  const marks = marksOf(task);
  $('differences').hidden = !many && !marks.some(Boolean);
  $('differences').setAttribute('aria-pressed', String(state.marked));
  $('against-box').hidden = !many || !state.marked;
  $('against').value = String(state.base);
  document.querySelectorAll('.answer').forEach((card, position) => {
    fill(card.querySelector('.text'), shownText(task, position), state.marked ? marks[position] : null);
    card.querySelector('.base').hidden = !many || !state.marked || position !== state.base || !marks.some(Boolean);
  });
}

function compareWith(position) {
  if ($('against-box').hidden)
    return;
  state.base = position % state.task.presented.length;
  paint();
}

function showAnswers(task) {
  const pair = isPair(task);
  const answers = $('answers');
  answers.replaceChildren();
  $('against').replaceChildren(...task.presented.map((completion, position) => {
    const option = element('option', '', letterOf(position));
    option.value = String(position);
    return option;
  }));
  answers.classList.toggle('pair', pair);
  task.presented.forEach((completion, position) => {
    const name = letterOf(position);
    const card = element('article', 'answer');
    const heading = element('h2');
    heading.id = 'answer-' + position;
    card.setAttribute('aria-labelledby', heading.id);
    const letter = element('span', 'letter', name);
    const words = element('span', 'words', isRanking(task) && !pair ? 'not ranked yet' : 'Answer ' + name);
    const base = element('span', 'base', 'the others are compared with this one');
    base.hidden = true;
    heading.append(letter, words, base);
    const text = textBlock('');
    text.tabIndex = 0;
    card.append(heading, text);
    if (!isRanking(task)) {
      card.append(kindOf(task) === 'flags' ? flagButtons(position) : ratingButtons(task, position));
    } else if (!pair) {
      const pick = element('button', 'rank');
      pick.type = 'button';
      pick.addEventListener('click', () => pickNext(position));
      card.append(pick);
    } else if (state.again && state.again.said && state.again.said.ranks[completion] === 1) {
      card.classList.add('before');
    }
    answers.append(card);
  });
  paint();
}

function toggleMarks() {
  if ($('differences').hidden)
    return;
  state.marked = !state.marked;
  save('differences', state.marked);
  paint();
}

/* ---- instructions: open until they were closed once ------------------------------------------------- */

const told = (kind) => state.told[kind] || TOLD[kind];

function showGuide(kind) {
  const paragraphs = told(kind).trim().split(/\n\s*\n/);
  $('guide-text').replaceChildren(...paragraphs.map((text) => element('p', '', visible(text))));
  $('guide').dataset.kind = kind;
  $('guide').open = load('told.' + kind, '') !== told(kind);
  $('guide').hidden = false;
}

function keepGuide() {
  const kind = $('guide').dataset.kind;
  save('told.' + kind, $('guide').open ? '' : told(kind));
}

function choice(words, key, act, options = {}) {
  const button = element('button', options.primary ? 'primary' : '');
  button.type = 'button';
  button.id = options.id || '';
  button.disabled = !!options.disabled;
  if (options.pressed !== undefined)
    button.setAttribute('aria-pressed', String(options.pressed));
  button.append(words + ' ');
  if (key)
    button.append(element('kbd', '', key));
  button.addEventListener('click', act);
  return button;
}

function setChoices(buttons) {
  $('choices').replaceChildren(...buttons);
}

function show(task) {
  const pair = isPair(task);
  state.task = task;
  state.spent = 0;
  state.since = document.hidden ? 0 : performance.now();
  state.picked = [];
  state.ranks = new Array(task.completions.length).fill(0);
  state.tie = false;
  state.base = 0;
  const said = (state.again && state.again.said) || {};
  state.given = task.completions.map((text, i) => (said.ratings || said.flags || [])[i] ?? null);
  state.at = 0;
  $('rest').hidden = true;
  $('actions').hidden = false;
  $('note-box').hidden = false;
  $('question').hidden = false;
  $('question').textContent = pair ? 'Which answer is better?' : isRanking(task) ? 'Rank the answers, best first'
    : kindOf(task) === 'demonstration' ? 'Write the answer you would like to get'
      : kindOf(task) === 'flags' ? 'What is wrong with each answer?' : SCALES[kindOf(task)].question;
  if ($('guide').dataset.kind !== kindOf(task))
    showGuide(kindOf(task));
  $('guide').hidden = false;
  $('prompt').replaceChildren(...promptParts(task.prompt));
  $('prompt').scrollTop = $('prompt').scrollHeight;
  showAnswers(task);
  if (pair)
    setChoices([
      choice('A is better', '←', () => judgePair(0), { id: 'choose-a' }),
      choice('Tie', 'T', () => judgePair(-1), { id: 'choose-tie' }),
      choice('B is better', '→', () => judgePair(1), { id: 'choose-b' }),
    ]);
  else if (isRanking(task))
    showRanking();
  else if (kindOf(task) === 'demonstration')
    showDemonstration(said.answer || '');
  else
    showGiven();
  const again = $('again');
  again.hidden = !state.again;
  if (state.again)
    again.textContent = state.again.said
      ? 'You have judged this one' + (pair ? ' (dashed: your choice)' : '') + '. Choose again to change it, or press S to keep it.'
      : 'You skipped this one. Choose now, or press S to leave it.';
  restoreDraft(task);
  $('undo').disabled = state.history.length === 0;
  window.scrollTo(0, 0);
  $('question').focus({ preventScroll: true });
}

function showRest() {
  state.task = null;
  $('prompt').replaceChildren();
  $('answers').replaceChildren();
  $('again').hidden = true;
  $('guide').hidden = true;
  $('differences').hidden = true;
  $('against-box').hidden = true;
  $('note-box').hidden = true;
  $('question').hidden = true;
  $('actions').hidden = true;
  $('rest').hidden = false;
  const p = state.progress;
  $('rest-title').textContent = p && p.tasks > 0 && p.open === 0 ? 'All judged' : 'Nothing to judge right now';
  $('rest-undo').hidden = state.history.length === 0;
}

/* ---- rankings: pick the best, then the next best ... ------------------------------------------------ */

function pickNext(position) {
  const task = state.task;
  if (!isRanking(task) || isPair(task) || position >= task.completions.length)
    return;
  const completion = task.presented[position];
  if (state.ranks[completion]) { /* taken back, with all that came after it */
    state.picked = state.picked.slice(0, state.picked.indexOf(completion));
    state.ranks = state.ranks.map((rank, c) => (state.picked.includes(c) ? rank : 0));
    state.tie = false;
  } else {
    const last = state.picked[state.picked.length - 1];
    state.ranks[completion] = state.tie && last !== undefined ? state.ranks[last] : state.picked.length + 1;
    state.picked.push(completion);
    state.tie = false;
  }
  saveDraft();
  showRanking();
}

function unpick() {
  const last = state.picked.pop();
  if (last !== undefined)
    state.ranks[last] = 0;
  state.tie = false;
  saveDraft();
  showRanking();
}

function toggleTie() {
  if (state.picked.length > 0 && state.picked.length < state.ranks.length) {
    state.tie = !state.tie;
    showRanking();
  }
}

function showRanking() {
  const task = state.task;
  const complete = state.picked.length === task.completions.length;
  document.querySelectorAll('.answer').forEach((card, position) => {
    const rank = state.ranks[task.presented[position]];
    const shared = rank && state.ranks.filter((r) => r === rank).length > 1;
    card.classList.toggle('ranked', rank > 0);
    card.querySelector('.words').textContent = rank ? 'rank ' + rank + (shared ? ', tie' : '') : 'not ranked yet';
    const pick = card.querySelector('button.rank');
    pick.replaceChildren((rank ? 'Take back' : state.tie ? 'Same as the last' : 'Next best') + ' ');
    if (position < 9)
      pick.append(element('kbd', '', String(position + 1)));
  });
  setChoices([
    choice('Tie with the last', 'T', toggleTie, { id: 'choose-tie', pressed: state.tie, disabled: complete || state.picked.length === 0 }),
    choice('Take back', '⌫', unpick, { id: 'take-back', disabled: state.picked.length === 0 }),
    choice(complete ? 'Submit ranking' : state.picked.length + ' of ' + task.completions.length + ' ranked', 'Enter', judgeRanking,
      { id: 'submit', primary: true, disabled: !complete }),
  ]);
}

/* ---- ratings, flags, demonstrations: nothing is answered until it was said --------------------------- */

const givenAt = (position) => state.given[state.task.presented[position]];

function give(position, value) {
  state.given[state.task.presented[position]] = value;
  state.at = position;
  saveDraft();
  showGiven();
}

/* To the next answer about which nothing was said; where all is said it stays. */
function moveOn() {
  const count = state.task.presented.length;
  for (let i = 1; i <= count; i++) {
    const position = (state.at + i) % count;
    if (givenAt(position) === null)
      return moveTo(position);
  }
}

function moveTo(position) {
  const cards = document.querySelectorAll('.answer');
  state.at = Math.min(Math.max(position, 0), cards.length - 1);
  showGiven();
  cards[state.at].scrollIntoView({ block: 'nearest' });
}

function ratingButtons(task, position) {
  const scale = SCALES[kindOf(task)];
  const group = element('div', 'scale');
  group.setAttribute('role', 'group');
  group.setAttribute('aria-label', 'Rating of answer ' + letterOf(position) + ', ' + scale.values[0] + ' ' + scale.ends[0] + ' to '
    + scale.values[scale.values.length - 1] + ' ' + scale.ends[1]);
  group.append(element('span', 'end', scale.ends[0]));
  for (const value of scale.values) {
    const button = element('button', 'value', String(value));
    button.type = 'button';
    button.dataset.value = String(value);
    button.addEventListener('click', () => give(position, value));
    group.append(button);
  }
  group.append(element('span', 'end', scale.ends[1]));
  return group;
}

/* name: '' is none of them. */
function flag(position, name) {
  const now = givenAt(position) || [];
  give(position, name === '' ? [] : now.includes(name) ? now.filter((f) => f !== name) : [...now, name]);
}

function flagButtons(position) {
  const group = element('div', 'flags');
  group.setAttribute('role', 'group');
  group.setAttribute('aria-label', 'What is wrong with answer ' + letterOf(position));
  for (const [key, name, words] of [['0', '', 'None of these'], ...FLAGS]) {
    const button = element('button', 'flag', words + ' ');
    button.type = 'button';
    button.dataset.flag = name;
    button.append(element('kbd', '', key));
    button.addEventListener('click', () => flag(position, name));
    group.append(button);
  }
  return group;
}

function showGiven() {
  const task = state.task;
  document.querySelectorAll('.answer').forEach((card, position) => {
    const given = givenAt(position);
    card.classList.toggle('ranked', given !== null);
    card.classList.toggle('current', position === state.at);
    if (position === state.at && task.presented.length > 1)
      card.setAttribute('aria-current', 'true');
    else
      card.removeAttribute('aria-current');
    card.querySelectorAll('.value').forEach((b) => b.setAttribute('aria-pressed', String(b.dataset.value === String(given))));
    card.querySelectorAll('.flag').forEach((b) => b.setAttribute('aria-pressed',
      String(given !== null && (b.dataset.flag === '' ? given.length === 0 : given.includes(b.dataset.flag)))));
  });
  const left = state.given.filter((g) => g === null).length;
  setChoices([choice(left ? left + ' left' : 'Submit', 'Enter', judgeGiven, { id: 'submit', primary: true, disabled: left > 0 })]);
}

function judgeGiven() {
  if (!state.task || isRanking(state.task) || kindOf(state.task) === 'demonstration' || state.given.includes(null))
    return;
  judge(kindOf(state.task) === 'flags' ? { flags: state.given } : { ratings: state.given }, 'Stored');
}

/* A key about the answer at hand: a rating, or one of the flags. False: it means nothing here. */
function answerKey(key) {
  const scale = SCALES[kindOf(state.task)];
  if (scale) {
    const value = scale.values.find((v) => String(v) === key);
    if (value === undefined)
      return false;
    give(state.at, value);
    moveOn();
    return true;
  }
  const known = kindOf(state.task) === 'flags' && [['0', ''], ...FLAGS].find(([k]) => k.toLowerCase() === key);
  if (!known)
    return false;
  flag(state.at, known[1]);
  if (key === '0')
    moveOn();
  return true;
}

/* Enter: on to the next answer, and at the end all is sent. */
function answerEnter() {
  if (state.given.includes(null) && givenAt(state.at) !== null)
    moveOn();
  else
    judgeGiven();
}

function showDemonstration(text) {
  const box = element('textarea', 'demonstration');
  box.id = 'demonstration';
  box.rows = 8;
  box.maxLength = 60000;
  box.value = text;
  box.setAttribute('aria-label', 'Your answer');
  box.placeholder = 'The answer as a good assistant would give it';
  box.addEventListener('input', () => {
    saveDraft();
    showWritten();
  });
  $('answers').append(box);
  showWritten();
}

function showWritten() {
  const empty = !$('demonstration').value.trim();
  setChoices([choice('Submit', 'Ctrl Enter', judgeWritten, { id: 'submit', primary: true, disabled: empty })]);
}

function judgeWritten() {
  const box = $('demonstration');
  if (box && box.value.trim())
    judge({ answer: box.value }, 'Stored');
}

/* ---- drafts: a reload loses nothing ------------------------------------------------------------------ */

function saveDraft() {
  if (state.task)
    save(own('draft'), {
      task: state.task.id, ranks: state.ranks, picked: state.picked, note: $('note').value, given: state.given,
      written: $('demonstration') ? $('demonstration').value : '',
    });
}

function restoreDraft(task) {
  const draft = load(own('draft'), null);
  const mine = draft && draft.task === task.id;
  $('note').value = mine ? draft.note : '';
  $('note-box').open = !!(mine && draft.note);
  if (mine && $('demonstration') && draft.written) {
    $('demonstration').value = draft.written;
    showWritten();
  } else if (mine && !isRanking(task) && draft.given && draft.given.length === task.completions.length) {
    state.given = draft.given;
    state.at = Math.max(task.presented.findIndex((completion) => state.given[completion] === null), 0);
    showGiven();
  }
  if (mine && isRanking(task) && task.completions.length > 2 && draft.ranks.length === task.completions.length) {
    state.ranks = draft.ranks;
    state.picked = draft.picked;
    showRanking();
  }
}

/* ---- the frame ---------------------------------------------------------------------------------------- */

function showProgress() {
  const p = state.progress;
  if (!p)
    return;
  const done = p.tasks - p.open;
  $('progress').max = Math.max(p.tasks, 1);
  $('progress').value = done;
  $('progress-text').textContent = p.tasks
    ? done.toLocaleString() + ' of ' + p.tasks.toLocaleString() + ' judged · ' + p.mine.toLocaleString() + ' by you'
    : 'No tasks yet' + (round ? ' in round ' + round : '');
}

function showSaving() {
  const waiting = state.outbox.length;
  const box = $('saving');
  box.classList.toggle('trouble', !!state.trouble);
  box.textContent = state.trouble
    ? (waiting ? waiting + ' kept here, retrying…' : 'No connection…')
    : waiting ? 'Saving…' : state.history.length ? 'Saved' : '';
  box.title = state.trouble;
}

let toastTimer;
function toast(text, ms = 1800) {
  $('toast').textContent = text;
  $('toast').classList.add('shown');
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $('toast').classList.remove('shown'), ms);
}

function showName() {
  $('who').textContent = state.labeler || 'Your name';
  $('who').title = mayRename() ? 'Change your name' : 'Signed in as ' + session.name + ': sign out';
}

/* A labeler's token says who its holder is; a vendor has people of its own, and without tokens nobody is known. */
const mayRename = () => session.open || session.role === 'vendor';

function askName() {
  if (mayRename()) {
    $('name').value = state.labeler;
    $('name-dialog').showModal();
  } else {
    $('account-name').textContent = session.name;
    $('account-role').textContent = session.role;
    $('account').showModal();
  }
}

function setName(name) {
  if (name !== state.labeler) { /* tasks are reserved for a person */
    state.queue = [];
    state.task = null;
    state.again = null;
  }
  state.labeler = name;
  state.outbox = load(own('outbox'), []);
  state.history = load(own('history'), []);
  if (mayRename())
    save('labeler', name);
  showName();
  flush();
  refill();
}

async function welcome() {
  try {
    const said = await call('/api/v1/settings');
    state.told = said.status === 200 ? said.answer.instructions : {};
  } catch { /* the page has words of its own */ }
  $('to-owner').hidden = $('to-owner-too').hidden = session.role !== 'owner';
  const name = mayRename() ? parameters.get('labeler') || load('labeler', '') : session.name;
  if (session.role === 'learner') {
    toast('This token is a learner\'s: judging needs one of a labeler', 8000);
    askToken();
  } else if (name) {
    setName(name);
  } else {
    askName();
  }
}

function onKey(event) {
  if (document.querySelector('dialog[open]'))
    return;
  if (event.target.id === 'demonstration' && event.key === 'Enter' && event.ctrlKey)
    judgeWritten();
  if (event.ctrlKey || event.metaKey || event.altKey)
    return;
  if (event.target.closest && event.target.closest('textarea, input, select')) {
    if (event.key === 'Escape')
      event.target.blur();
    return;
  }
  if (event.repeat) /* a key held down is not a judgement */
    return;
  const pair = isPair(state.task), ranking = isRanking(state.task);
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const digit = /^(?:Digit|Numpad)([0-9])$/.exec(event.code);
  const given = state.task && !ranking && kindOf(state.task) !== 'demonstration';
  if (key === 'Enter' && event.target.closest('button, summary, a'))
    return; /* it presses what has the focus */
  if (pair && (key === 'a' || key === 'ArrowLeft'))
    judgePair(0);
  else if (pair && (key === 'b' || key === 'ArrowRight'))
    judgePair(1);
  else if (pair && key === 't')
    judgePair(-1);
  else if (!pair && ranking && key === 't')
    toggleTie();
  else if (!pair && ranking && digit && digit[1] !== '0')
    pickNext(Number(digit[1]) - 1);
  else if (!pair && ranking && key === 'Backspace')
    unpick();
  else if (!pair && ranking && key === 'Enter')
    judgeRanking();
  else if (given && (key === 'ArrowLeft' || key === 'ArrowRight'))
    moveTo(state.at + (key === 'ArrowLeft' ? -1 : 1));
  else if (given && key === 'Enter')
    answerEnter();
  else if (given && answerKey(digit ? digit[1] : key))
    ; /* done */
  else if (key === 'c' && state.task)
    compareWith(state.base + 1);
  else if (key === 's')
    skip();
  else if (key === 'd')
    toggleMarks();
  else if (key === 'i')
    $('guide').open = !$('guide').open;
  else if (key === 'u')
    undo();
  else if (key === '?')
    $('help').showModal();
  else if (key === 'n' && state.task) {
    $('note-box').open = true;
    $('note').focus();
  } else
    return;
  event.preventDefault();
}

$('name-form').addEventListener('submit', (event) => {
  const name = $('name').value.trim();
  if (name)
    setName(name);
  else
    event.preventDefault();
});
$('name-dialog').addEventListener('cancel', (event) => {
  if (!state.labeler)
    event.preventDefault();
});
$('who').addEventListener('click', askName);
$('help-open').addEventListener('click', () => $('help').showModal());
$('undo').addEventListener('click', undo);
$('rest-undo').addEventListener('click', undo);
$('skip').addEventListener('click', skip);
$('note').addEventListener('input', saveDraft);
document.addEventListener('keydown', onKey);
document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    state.spent += state.since ? performance.now() - state.since : 0;
    state.since = 0;
  } else {
    state.since = performance.now();
    refill();
  }
});
window.addEventListener('online', flush);
setInterval(() => {
  if (!document.hidden && !state.task)
    refill();
}, POLL_MS);

$('differences').addEventListener('click', toggleMarks);
$('against').addEventListener('change', () => compareWith(Number($('against').value)));
$('guide').addEventListener('toggle', keepGuide);
$('sign-out').addEventListener('click', () => {
  forget(own('history')); /* what was read here is not for whoever comes next */
  forget(own('draft'));
  signOut();
});

showName();
begin(welcome, (trouble) => {
  state.trouble = trouble;
  showSaving();
});
