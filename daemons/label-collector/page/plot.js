/* Plots as SVG, made of elements: bars over time, and values with their intervals. */
import { element } from './session.js';

const SVG = 'http://www.w3.org/2000/svg';

function shape(name, attributes, text) {
  const e = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes))
    e.setAttribute(key, String(value));
  if (text !== undefined)
    e.textContent = text;
  return e;
}

function drawing(width, height, label) {
  return shape('svg', { viewBox: '0 0 ' + width + ' ' + height, role: 'img', 'aria-label': label, preserveAspectRatio: 'xMidYMid meet' });
}

/* A round number at or above value: 1, 2 or 5 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((n) => n * power).find((n) => n >= value);
}

/* items: [{value, label (below, or ''), title}]; width: of the place, so that letters keep their size. */
export function bars(items, label, width) {
  const height = 200, left = 44, bottom = 22, top = 10;
  const svg = drawing(width, height, label);
  const most = roundUp(Math.max(1, ...items.map((i) => i.value)));
  const step = (width - left - 4) / Math.max(items.length, 1);
  const y = (value) => top + (height - top - bottom) * (1 - value / most);
  for (const tick of most < 2 ? [0, most] : [0, most / 2, most]) {
    svg.append(shape('line', { class: 'grid', x1: left, x2: width - 4, y1: y(tick), y2: y(tick) }));
    svg.append(shape('text', { x: left - 6, y: y(tick) + 4, 'text-anchor': 'end' }, tick.toLocaleString()));
  }
  const every = Math.ceil(64 / step); /* labels that have room */
  items.forEach((item, i) => {
    const bar = shape('rect', { class: 'bar', x: (left + i * step + step * 0.12).toFixed(1), width: Math.max(step * 0.76, 1).toFixed(1),
      y: y(item.value).toFixed(1), height: Math.max(y(0) - y(item.value), item.value ? 1 : 0).toFixed(1), rx: Math.min(3, step / 6).toFixed(1) });
    bar.append(shape('title', {}, item.title));
    svg.append(bar);
    if ((items.length - 1 - i) % every === 0)
      svg.append(i === items.length - 1 ? shape('text', { x: width - 4, y: height - 6, 'text-anchor': 'end' }, item.label)
        : shape('text', { x: (left + (i + 0.5) * step).toFixed(1), y: height - 6, 'text-anchor': 'middle' }, item.label));
  });
  return svg;
}

/* rows: [{name, value, low, high, note}], all between from and to; mark: where a line stands. Narrow places get the name above. */
export function intervals(rows, from, to, mark, width) {
  const box = element('div', 'intervals');
  for (const row of rows) {
    const line = element('div', 'interval');
    const known = row.value !== null;
    const words = known ? row.value.toFixed(2) + ' (' + row.low?.toFixed(2) + ' to ' + row.high?.toFixed(2) + ')' : 'nothing to say yet';
    const span = Math.max(160, Math.min(width - 60, 420));
    const x = (value) => (6 + (span - 12) * (Math.min(Math.max(value, from), to) - from) / (to - from)).toFixed(1);
    const svg = drawing(span, 26, row.name + ': ' + words);
    svg.append(shape('line', { class: 'grid', x1: x(from), x2: x(to), y1: 13, y2: 13 }));
    svg.append(shape('line', { class: 'mark', x1: x(mark), x2: x(mark), y1: 4, y2: 22 }));
    if (known && row.low !== null && row.high !== null)
      svg.append(shape('rect', { class: 'range', x: x(row.low), width: Math.max(x(row.high) - x(row.low), 1).toFixed(1), y: 9, height: 8, rx: 4 }));
    if (known)
      svg.append(shape('circle', { class: 'dot', cx: x(row.value), cy: 13, r: 6 }));
    const text = element('div', 'interval-words');
    text.append(element('strong', '', row.name), element('span', 'small', row.note));
    line.append(text, svg, element('span', 'number', words));
    box.append(line);
  }
  return box;
}
