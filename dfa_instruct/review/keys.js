document.addEventListener("keydown", (event) => {
    const press = (name) => document.getElementById(`review-${name}`)?.click();
    const text = document.querySelector("#review-text textarea");
    if (!text || event.repeat) return;
    if (event.target === text) {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            press("save");
            text.blur();
        } else if (event.key === "Escape") {
            text.blur();
        }
        return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const name = {a: "accept", r: "reject", u: "back", ArrowLeft: "previous", ArrowRight: "next"}[event.key];
    if (name) {
        event.preventDefault();
        press(name);
    } else if (event.key === "e") {
        event.preventDefault();
        text.focus();
    }
}, true);
