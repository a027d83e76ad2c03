// The theme of the page: light or dark, large for presenting, without motion if the system asks so.

const KEY = "lab-live-look";
const STAGES = ["readers", "chart", "all"];

function loadSettings() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {}; // without storage, the page uses the defaults
  }
}

export class Theme {
  constructor() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    this.settings = { theme: dark ? "dark" : "light", presenting: false, singleKeys: true, stage: STAGES[0], ...loadSettings() };
    this.motion = matchMedia("(prefers-reduced-motion: reduce)");
    this.onChange = () => {};
    this._apply();
  }

  get reducedMotion() {
    return this.motion.matches;
  }

  toggleTheme() {
    this.settings.theme = this.settings.theme === "dark" ? "light" : "dark";
    this._apply();
  }

  toggleLargeType() {
    this.settings.presenting = !this.settings.presenting;
    this.settings.stage = STAGES[0];
    this._apply();
  }

  /** In large type, shows only the readers of each half, or only its chart, or all of it. */
  nextStage() {
    const { presenting, stage } = this.settings;
    this.settings.stage = STAGES[presenting ? (STAGES.indexOf(stage) + 1) % STAGES.length : 0];
    this.settings.presenting = true;
    this._apply();
  }

  toggleSingleKeys() {
    this.settings.singleKeys = !this.settings.singleKeys;
    this._apply();
  }

  _apply() {
    document.documentElement.dataset.theme = this.settings.theme;
    document.documentElement.dataset.stage = this.settings.stage;
    document.documentElement.dataset.presenting = this.settings.presenting ? "yes" : "no";
    try {
      localStorage.setItem(KEY, JSON.stringify(this.settings));
    } catch {
      // see loadSettings()
    }
    this.onChange();
  }
}
