// ReDoc's bundle shows its maker's logo from its maker's server. Nothing here asks other hosts for anything,
// so an image from elsewhere never gets its address, neither as an attribute nor as a property.
(() => {
  const isElsewhere = (address) => new URL(address, location.href).origin !== location.origin && !address.startsWith("data:");
  const { setAttribute } = Element.prototype;
  Element.prototype.setAttribute = function (name, value) {
    if (this instanceof HTMLImageElement && name === "src" && isElsewhere(value)) this.hidden = true;
    else setAttribute.call(this, name, value);
  };
  const src = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
  Object.defineProperty(HTMLImageElement.prototype, "src", {
    ...src,
    set(address) {
      if (isElsewhere(address)) this.hidden = true;
      else src.set.call(this, address);
    },
  });
})();
