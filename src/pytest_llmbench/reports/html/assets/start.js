const data = JSON.parse(document.getElementById("data").textContent);
startTheme(data.words);

/** The rows of one block, which the browser unpacks itself. */
async function unpacked(block) {
  const bytes = Uint8Array.from(atob(block), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

if (data.packed) {
  Promise.all(data.packed.map(unpacked)).then((blocks) => {
    data.rows = blocks.flat();
    startCases(data, document.documentElement.lang);
  });
} else {
  startCases(data, document.documentElement.lang);
}
