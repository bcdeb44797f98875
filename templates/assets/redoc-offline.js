// ReDoc's bundle shows its maker's logo from its maker's server. Nothing here asks other hosts for anything,
// so an image from elsewhere never gets its address.
const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function (name, value) {
  if (this instanceof HTMLImageElement && name === "src" && /^https?:/.test(value) && !value.startsWith(location.origin)) {
    this.hidden = true;
    return;
  }
  setAttribute.call(this, name, value);
};
