// Asks a person for a key or token, in a dialog of the page. The key stays in this tab: sessionStorage ends with it.

import { element } from "/web/view.js";

const KEY = "nexttrack.key";
let asking = null;

/** The key of this tab, or null. */
export const key = () => sessionStorage.getItem(KEY);

/** Ask for a key, and say why. Resolves to true once there is one, to false if the person gives none. */
export function askForKey(why) {
  sessionStorage.removeItem(KEY);
  asking ??= ask(why).finally(() => (asking = null)); // calls that are refused together share one dialog
  return asking;
}

function ask(why) {
  const { dialog, input } = made(why);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = dialog.returnValue === "use" ? input.value.trim() : "";
      if (given) sessionStorage.setItem(KEY, given);
      dialog.remove();
      resolve(Boolean(given));
    });
  });
}

function made(why) {
  const input = element("input", {
    id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: "", "aria-describedby": "key-why key-hint",
  });
  const form = element(
    "form", { method: "dialog" },
    element("h2", { id: "key-heading" }, "This service asks for a key"),
    element("p", { id: "key-why", role: "alert" }, why),
    element("label", { for: "key" }, "API key or listener token"),
    input,
    element("p", { id: "key-hint", class: "hint" }, "The page keeps it in this tab only. A listener token opens its own listener alone."),
    element("div", { class: "controls" },
      element("button", { class: "primary", value: "use" }, "Use it"),
      element("button", { value: "cancel", formnovalidate: "" }, "Cancel")),
  );
  return { dialog: element("dialog", { id: "key-dialog", "aria-labelledby": "key-heading" }, form), input };
}
