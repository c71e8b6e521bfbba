// The keys of the page, and its unsaved edits. An unsaved edit stays in this tab, stored by its face, until it is saved
// or dropped. The editor keeps the focus until the server confirms a save, so that keys typed before that are text and not
// commands.
{
    let shown = "";
    let saving = "";
    const editor = () => document.querySelector("#review-text textarea");
    const notify = (text) => (document.getElementById("review-unsaved").textContent = text);

    // Called after each response of the server. Returns the text for the editor.
    window.reviewShown = (face, stored, text) => {
        if (saving && (face !== saving || text === stored)) sessionStorage.removeItem(saving);
        if (saving && face !== saving) {
            editor().blur();
        } else if (saving || (!shown && sessionStorage.getItem(face) !== null)) {
            editor().focus();
        }
        shown = face;
        saving = "";
        const draft = sessionStorage.getItem(face) ?? text;
        notify(draft === stored ? "" : "This edit is not saved: Ctrl+Enter saves it, Esc and then D drops it.");
        return draft;
    };

    document.addEventListener("input", (event) => {
        if (shown && event.target === editor()) sessionStorage.setItem(shown, event.target.value);
    }, true);

    document.addEventListener("click", (event) => {
        const name = event.target.closest("button[id^=review-]")?.id;
        if (!shown || !name) return;
        if (name === "review-save") saving = shown;
        if (name === "review-drop") sessionStorage.removeItem(shown);
        fetch(location.href, {method: "HEAD", cache: "no-store", signal: AbortSignal.timeout(5000)}).catch(() => {
            if (saving) editor().focus();
            notify("Nothing was kept: the server does not answer. The text stays here, even after a reload.");
        });
    }, true);

    document.addEventListener("keydown", (event) => {
        const press = (name) => document.getElementById(`review-${name}`).click();
        if (!shown || event.repeat) return;
        if (event.target === editor()) {
            if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
                event.preventDefault();
                press("save");
            } else if (event.key === "Escape") {
                editor().blur();
            }
            return;
        }
        if (event.ctrlKey || event.metaKey || event.altKey) return;
        const name = {
            a: "accept", d: "drop", r: "reject", u: "back", ArrowLeft: "previous", ArrowRight: "next",
        }[event.key];
        if (name) {
            event.preventDefault();
            press(name);
        } else if (event.key === "e") {
            event.preventDefault();
            editor().focus();
        }
    }, true);
}
