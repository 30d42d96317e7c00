// A page that is opened as a file may start no worker, so the search could not run: here its code runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.onmessage = null;
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      const inside = frame.contentWindow;
      const written = inside.document;
      this.waiting = [];
      this.ready = false;
      inside.postMessage = (data) => {
        const event = new MessageEvent("message", { data });
        this.dispatchEvent(event);
        if (this.onmessage) this.onmessage(event);
      };
      inside.importScripts = (...urls) =>
        urls.reduce(
          (before, each) =>
            before.then(
              () =>
                new Promise((done, failed) => {
                  const script = written.createElement("script");
                  script.src = new URL(each, url).href;
                  script.onload = done;
                  script.onerror = failed;
                  written.body.appendChild(script);
                }),
            ),
          Promise.resolve(),
        );
      const code = written.createElement("script");
      code.src = url;
      code.onload = () => {
        this.ready = true;
        this.waiting.splice(0).forEach((data) => this.postMessage(data));
      };
      written.body.appendChild(code);
      this.inside = inside;
    }
    postMessage(data) {
      if (this.ready) this.inside.dispatchEvent(new MessageEvent("message", { data }));
      else this.waiting.push(data);
    }
    terminate() {}
  };
}
