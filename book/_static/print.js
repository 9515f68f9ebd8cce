/* Paper is white: what is dark on the screen is printed light. */
"use strict";

(() => {
  const {dataset} = document.documentElement;
  let onScreen;
  addEventListener("beforeprint", () => { [onScreen, dataset.theme] = [dataset.theme, "light"]; });
  addEventListener("afterprint", () => { dataset.theme = onScreen; });
})();
