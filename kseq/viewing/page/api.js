// Asks the server. All addresses are relative to that of the page, which has the token.

export const state = { about: null };

// Called when an answer shows that the dataset is another one than the page knows.
let onChanged = () => {};
export function whenChanged(callback) { onChanged = callback; }

export class Refused extends Error {}

export function address(name, parameters = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) {
    if (value !== "" && value !== null && value !== undefined) query.set(key, value);
  }
  return `api/${name}?${query}`;
}

export async function ask(name, parameters = {}, signal = undefined) {
  return answer(await reach(address(name, parameters), { signal }));
}

export async function change(name, body) {
  const sent = JSON.stringify({ ...body, digest: state.about.digest });
  const options = { method: "POST", headers: { "content-type": "application/json" }, body: sent };
  return answer(await reach(`api/change/${name}`, options), true);
}

async function reach(url, options) {
  try {
    return await fetch(url, { ...options, credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("kseq view does not answer: was it ended?");
  }
}

async function answer(response, isChange = false) {
  let found;
  try {
    found = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(`kseq view answers with ${response.status}`);
  }
  if (!response.ok) {
    if (response.status === 409) setTimeout(() => onChanged(null));
    throw new Refused(found.error || `kseq view answers with ${response.status}`);
  }
  if (!isChange && state.about && found.digest && found.digest !== state.about.digest) setTimeout(() => onChanged(found.digest));
  return found;
}

// Part of each address of an image: another dataset has other images.
export function version() {
  return state.about.digest.slice(0, 12);
}
