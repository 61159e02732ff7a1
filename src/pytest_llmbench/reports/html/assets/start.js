const data = JSON.parse(document.getElementById("data").textContent);
startTheme(data.words);
startCases(data, document.documentElement.lang);
