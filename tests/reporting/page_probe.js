// What a page measures of itself, as JSON. Everything folded is opened first, so that all of it is measured.
(async () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  const images = [...document.images];
  const decoded = await Promise.all(images.map((image) => image.decode().then(() => true, () => false)));

  const words = (element) => (element.textContent || "").replace(/\s+/g, " ").trim();
  const kind = (element) => element.tagName.toLowerCase() + (element.id ? "#" + element.id : "")
    + [...element.classList].map((name) => "." + name).join("");

  // Colours as the browser paints them: any notation becomes [red, green, blue, alpha] on a canvas.
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
      known.set(colour, [red, green, blue, alpha / 255]);
    }
    return known.get(colour);
  };
  const over = (front, back) => back.map((channel, k) => front[k] * front[3] + channel * (1 - front[3]));
  const background = (element) => {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const style = getComputedStyle(one);
      // A picture or gradient has no single colour. The shades of a box that scrolls are at its very ends.
      if (style.backgroundImage !== "none" && !one.matches(".scroll")) return null;
      layers.push(rgba(style.backgroundColor));
    }
    return layers.reduceRight((back, front) => over(front, back), rgba("canvas").slice(0, 3));
  };
  // Relative luminance and contrast: WCAG 2.2.
  const luminance = (colour) => colour
    .map((channel) => channel / 255)
    .map((share) => (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4))
    .reduce((sum, share, k) => sum + share * [0.2126, 0.7152, 0.0722][k], 0);
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };

  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.nodeValue.trim() || !element.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(element);
    let opacity = 1;
    for (let one = element; one; one = one.parentElement) opacity *= Number(getComputedStyle(one).opacity);
    const back = background(element);
    const ink = rgba(element instanceof SVGElement ? style.fill : style.color);
    texts.push({
      kind: kind(element), text: walker.currentNode.nodeValue.trim().slice(0, 60), size: parseFloat(style.fontSize),
      contrast: back && contrast(over([...ink.slice(0, 3), ink[3] * opacity], back), back),
      cut: style.textOverflow === "ellipsis" || style.webkitLineClamp !== "none",
    });
  }

  const scrolls = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const inBox = (element) => {
    for (let one = element.parentElement; one && one !== document.body; one = one.parentElement) {
      if (scrolls(one)) return true;
    }
    return false;
  };
  const everything = [...document.body.querySelectorAll("*")].filter((element) => element.checkVisibility());
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  const addresses = [...document.querySelectorAll("[src], [href], [srcset], [data], [poster], [action]")]
    .flatMap((element) => ["src", "href", "srcset", "data", "poster", "action"].map((name) => element.getAttribute(name)))
    .filter((address) => address && !address.startsWith("data:"));
  return {
    width: innerWidth,
    scrollWidth: document.documentElement.scrollWidth,
    outside: everything
      .filter((element) => element.getBoundingClientRect().right > innerWidth + 0.5 && !inBox(element))
      .map((element) => `${kind(element)}: ${words(element).slice(0, 60)}`),
    hidden: everything
      .filter((element) => ["hidden", "clip"].includes(getComputedStyle(element).overflowX)
        && element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 1)
      .map((element) => `${kind(element)}: ${words(element).slice(0, 60)}`),
    boxes: everything
      .filter((element) => scrolls(element) && element.scrollWidth > element.clientWidth + 1)
      .map((element) => ({ kind: kind(element), reachable: element.tabIndex >= 0, named: element.hasAttribute("aria-label") || element.tagName === "PRE" })),
    images: images.map((image, k) => ({ alt: image.alt, plot: image.closest("figure") !== null, width: image.naturalWidth, shown: image.getBoundingClientRect().width, decoded: decoded[k] })),
    links: [...document.querySelectorAll("nav a")].map((link) => ({
      text: words(link), address: link.getAttribute("href"), found: Boolean(document.getElementById(decodeURIComponent(link.hash.slice(1)))) })),
    repeated: ids.filter((id, k) => ids.indexOf(id) !== k),
    sections: [...document.querySelectorAll("main > section")].map((section) => ({
      id: section.id, title: words(section.querySelector("h2") ?? document.createElement("i")), text: words(section).length,
      height: section.getBoundingClientRect().height })),
    texts,
    addresses: addresses.filter((address) => !address.startsWith("#")),
    scripts: document.scripts.length,
    focused: document.activeElement ? kind(document.activeElement) : "",
    styleAddresses: [...document.querySelectorAll("style")].flatMap((style) => style.textContent.match(/url\([^)]*\)|@import[^;]*/g) ?? []),
  };
})()
