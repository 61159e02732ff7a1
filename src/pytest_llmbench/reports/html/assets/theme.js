function startTheme(words) {
  const order = ["auto", "light", "dark"];
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const state = button.querySelector("[data-state]");
  const current = () => root.dataset.theme ?? "auto";

  function show() {
    state.textContent = words["theme_" + current()];
  }

  function remember(theme) {
    try {
      if (theme === "auto") localStorage.removeItem("llmbench-theme");
      else localStorage.setItem("llmbench-theme", theme);
    } catch { /* the choice then lasts as long as the page */ }
  }

  button.addEventListener("click", () => {
    const theme = order[(order.indexOf(current()) + 1) % order.length];
    if (theme === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme;
    remember(theme);
    show();
  });
  show();
}
