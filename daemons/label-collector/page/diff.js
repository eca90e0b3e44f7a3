/* Which words of two texts differ. */

const MOST_CELLS = 1000000; /* of the table: some 1000 words against as many, 60 ms */
const LEAST_COMMON = 0.2;   /* of the words: with less in common marks say nothing */

/* Words, spaces and single signs. */
const pieces = (text) => text.match(/\s+|[\p{L}\p{N}_’']+|[^\s\p{L}\p{N}_’']/gu) || [];
const isSpace = (piece) => /^\s/.test(piece);

/* For each of the words a and b whether it is in their longest common subsequence. */
function common(a, b) {
  const inA = new Array(a.length).fill(false), inB = new Array(b.length).fill(false);
  let start = 0, endA = a.length, endB = b.length;
  while (start < endA && start < endB && a[start] === b[start])
    inA[start] = inB[start++] = true;
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1])
    inA[--endA] = inB[--endB] = true;
  const n = endA - start, m = endB - start, width = m + 1;
  if (n * m > MOST_CELLS)
    return null;
  const longest = new Uint16Array((n + 1) * width);
  for (let i = n - 1; i >= 0; i--)
    for (let j = m - 1; j >= 0; j--)
      longest[i * width + j] = a[start + i] === b[start + j] ? longest[(i + 1) * width + j + 1] + 1
        : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
  for (let i = 0, j = 0; i < n && j < m;) {
    if (a[start + i] === b[start + j])
      inA[start + i++] = inB[start + j++] = true;
    else if (longest[(i + 1) * width + j] >= longest[i * width + j + 1])
      i++;
    else
      j++;
  }
  return [inA, inB];
}

/* [[text, differs], ...] of one text: spaces go with what they stand between. */
function runs(all, shared) {
  const out = [];
  let word = 0;
  all.forEach((piece, i) => {
    const differs = isSpace(piece)
      ? out.length > 0 && out[out.length - 1][1] && i + 1 < all.length && !shared[word] /* between two that differ */
      : !shared[word++];
    if (out.length > 0 && out[out.length - 1][1] === differs)
      out[out.length - 1][0] += piece;
    else
      out.push([piece, differs]);
  });
  return out;
}

/* The runs of both texts; null where they are equal, too long, or have too little in common for marks to help. */
export function differences(one, other) {
  const a = pieces(one), b = pieces(other);
  const wordsA = a.filter((p) => !isSpace(p)), wordsB = b.filter((p) => !isSpace(p));
  const shared = one === other ? null : common(wordsA, wordsB);
  if (!shared || shared[0].filter(Boolean).length < LEAST_COMMON * Math.max(wordsA.length, wordsB.length, 1))
    return null;
  return [runs(a, shared[0]), runs(b, shared[1])];
}
