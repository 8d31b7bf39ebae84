// Samples of a dataset: a click chooses one, keys go through them and decide.
const decisions = {k: 'keep', d: 'drop', u: ''};
const steps = {ArrowLeft: -1, ArrowRight: 1};
let sought = false;
const split = () => element.closest('#data-split');
const pressed = () => element.querySelector('[aria-pressed=true]');
const TYPING = 'input:not([type=checkbox]), textarea, select, [contenteditable], [role=tab], [role=listbox]';

element.addEventListener('click', event => {
  const card = event.target.closest('[data-sample]');
  if (!card) return;
  sought = innerWidth < 760; // there the sample is shown below the cards
  trigger('choose', {sample: card.dataset.sample});
});

const listen = event => {
  if (!element.isConnected) return document.removeEventListener('keydown', listen);
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(TYPING)) return;
  if (!split() || split().offsetParent === null) return;
  const value = decisions[event.key.toLowerCase()], by = steps[event.key];
  const card = event.target.closest?.('[data-sample]')?.dataset.sample; // else the sample that is shown
  const sample = card ?? document.querySelector('#data-head [data-shown]')?.dataset.shown;
  if (by) trigger('step', {by});
  else if (event.key.toLowerCase() === 'l' && !event.repeat) split().classList.toggle('ms-large');
  else if (value !== undefined && sample && !event.repeat) trigger('decide', {sample, value});
  else return;
  event.preventDefault();
};
document.addEventListener('keydown', listen);

watch('value', () => {
  if (sought) setTimeout(() => document.getElementById('data-head').scrollIntoView({block: 'start'}), 200);
  sought = false;
  const card = pressed();
  if (!card || document.activeElement !== document.body && !element.contains(document.activeElement)) return;
  card.focus({preventScroll: true});
  if (innerWidth >= 760) card.scrollIntoView({block: 'nearest'});
});
