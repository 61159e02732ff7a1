// Cells of the table below that a browser fills in a few hundredths of a second.
const MOST_CELLS = 4_000_000;
// White space, one CJK character, a word, a run of symbols (an emoji stays whole), one mark of punctuation.
const TOKEN = /\s+|[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[\p{L}\p{N}\p{M}_]+|[^\s\p{L}\p{N}\p{M}\x21-\x7e][^\s\p{L}\p{N}\x21-\x7e]*|./gsu;

/**
 * The two texts as lists of [text, changed], where words outside their longest common subsequence are changed;
 * null where they are too long for that. White space alone never counts as a change.
 */
function wordDiff(before, after) {
  const a = before.match(TOKEN) ?? [];
  const b = after.match(TOKEN) ?? [];
  const keptA = new Uint8Array(a.length);
  const keptB = new Uint8Array(b.length);
  const wordsA = wordPlaces(a, keptA);
  const wordsB = wordPlaces(b, keptB);
  let start = 0;
  let endA = wordsA.length;
  let endB = wordsB.length;
  const same = (i, j) => a[wordsA[i]] === b[wordsB[j]];
  const keep = (i, j) => { keptA[wordsA[i]] = 1; keptB[wordsB[j]] = 1; };
  for (; start < endA && start < endB && same(start, start); start++) keep(start, start);
  for (; endA > start && endB > start && same(endA - 1, endB - 1); endA--, endB--) keep(endA - 1, endB - 1);
  if ((endA - start) * (endB - start) > MOST_CELLS) return null;
  for (const [i, j] of commonSubsequence(endA - start, endB - start, (i, j) => same(start + i, start + j)))
    keep(start + i, start + j);
  return { before: marked(a, keptA), after: marked(b, keptB) };
}

function wordPlaces(tokens, kept) {
  const places = [];
  tokens.forEach((token, place) => {
    if (/^\s/.test(token)) kept[place] = 1;
    else places.push(place);
  });
  return places;
}

/** Pairs of places that a longest common subsequence matches (Wagner and Fischer's table, from the end). */
function commonSubsequence(rows, columns, same) {
  const width = columns + 1;
  const lengths = new Uint32Array((rows + 1) * width);
  for (let i = rows - 1; i >= 0; i--)
    for (let j = columns - 1; j >= 0; j--)
      lengths[i * width + j] = same(i, j)
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
  const pairs = [];
  for (let i = 0, j = 0; i < rows && j < columns;) {
    if (same(i, j)) pairs.push([i++, j++]);
    else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i++;
    else j++;
  }
  return pairs;
}

/** Neighbours in one state become one piece; white space between two changed words is marked with them. */
function marked(tokens, kept) {
  const pieces = [];
  tokens.forEach((token, place) => {
    const between = /^\s/.test(token) && place > 0 && place + 1 < tokens.length && !kept[place - 1] && !kept[place + 1];
    const changed = !kept[place] || between;
    const last = pieces.at(-1);
    if (last && last[1] === changed) last[0] += token;
    else pieces.push([token, changed]);
  });
  return pieces;
}
