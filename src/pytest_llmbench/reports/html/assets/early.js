// Before the first paint: no flash of the other theme.
document.documentElement.classList.add("script");
try {
  const theme = localStorage.getItem("llmbench-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* storage is refused for local files in some browsers: the system's theme stays */ }
