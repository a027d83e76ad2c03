// The theme of the page: light or dark, large for presenting, without motion if the system asks so.

const KEY = "lab-live-look";

function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {}; // without storage, the page uses the defaults
  }
}

export class Look {
  constructor() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    this.look = { theme: dark ? "dark" : "light", presenting: false, ...kept() };
    this.motion = matchMedia("(prefers-reduced-motion: reduce)");
    this.changed = () => {};
    this._wear();
  }

  get still() {
    return this.motion.matches;
  }

  turnTheme() {
    this.look.theme = this.look.theme === "dark" ? "light" : "dark";
    this._wear();
  }

  turnPresenting() {
    this.look.presenting = !this.look.presenting;
    this._wear();
  }

  _wear() {
    document.documentElement.dataset.theme = this.look.theme;
    document.documentElement.dataset.presenting = this.look.presenting ? "yes" : "no";
    try {
      localStorage.setItem(KEY, JSON.stringify(this.look));
    } catch {
      // see kept()
    }
    this.changed();
  }
}
