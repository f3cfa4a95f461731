// Makes ../templates/letter.html.tmpl from letter.mjml, and checks it against what mail programs support.
// "make mails" runs it. checked.json tells the tests what was built from what, and what was found.
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { caniemail } from 'caniemail';
import mjml2html from 'mjml';

const sources = ['build.mjs', 'letter.mjml', 'package-lock.json', 'package.json'];
const output = '../templates/letter.html.tmpl';

// What MJML has to see as a plain value, and what the template puts there: colours of the branding, and the direction.
const values = [
  [/#acce01/g, '{{$.Accent}}'],
  [/#acce02/g, '{{$.OnAccent}}'],
  [/align="left"/g, 'align="{{$.Start}}"'],
  [/text-align:left/g, 'text-align:{{$.Start}}'],
  [/direction:ltr/g, 'direction:{{$.Dir}}'],
];

// The mail programs that must show the mail well.
const clients = [
  'apple-mail.*', 'gmail.*', 'outlook.*', 'yahoo.*', 'aol.*', 'samsung-email.*', 'thunderbird.*', 'protonmail.*', 'fastmail.*',
  'gmx.*', 'web-de.*', 'hey.*', 'mail-ru.*', 'orange.*', 'sfr.*', 'laposte.*', 'ionos-1and1.*', 'free-fr.*', 't-online-de.*', 'wp-pl.*',
];

// What some of them lack, and why the mail is read all the same.
const embellishment = 'the mail is plainer without it, and says and does the same';
const accepted = {
  '<style> element': 'holds only what dark mode, phones and single programs get on top; every element has its own style',
  '@media': 'as the style element: without it the mail is light, and as wide as the screen',
  'Attribute selector': 'in the style element only',
  'Chaining selectors': 'in the style element only',
  'Child combinator': 'in the style element only',
  'Class selector': 'in the style element only',
  'Descendant combinator': 'in the style element only',
  'ID selector': 'in the style element only',
  'Type selector': 'in the style element only',
  '!important keyword': 'in the style element only',
  '<body> element': 'its colour and language stand on the element inside it, too',
  'lang attribute': 'the text is the same; a screen reader takes its own guess at the language',
  'role attribute': 'tables that only lay out are then announced as such',
  'aria-label attribute': 'the subject is announced in its place',
  'target attribute': 'the program decides where links open, as it does anyway',
  'display:none': 'of the preview line, which is one pixel high as well',
  'overflow': 'of the preview line, and of the card, whose corners are then square',
  'opacity': 'of the preview line, which has other things that hide it',
  'border-radius': embellishment,
  'cursor': embellishment,
  'outline': embellishment,
  'text-decoration': embellishment,
  'transform': 'text-transform:none, which undoes what nobody does',
  'word-break': 'a long link then makes its line longer',
  'word-spacing': 'the normal one is set',
  'height property': 'the attribute height stands beside it',
  'height attribute': 'the property height stands beside it',
  'width attribute': 'the property width stands beside it',
};

function fail(lines) {
  console.error(lines.join('\n'));
  process.exit(1);
}

async function build() {
  // No fonts: MJML would have mail programs load them from elsewhere, which tells others that the mail was opened.
  const { html, errors } = await mjml2html(readFileSync('letter.mjml', 'utf8'), { validationLevel: 'soft', keepComments: false, fonts: {} });
  if (errors.length > 0) fail(errors.map((e) => e.formattedMessage));
  return values.reduce((all, [from, to]) => all.replace(from, to), squeezed(html));
}

// squeezed drops the white space that MJML leaves around tags.
function squeezed(html) {
  return html
    .replace(/[ \t]*\n\s*/g, '\n')
    .replace(/<[a-z][^>]*>/g, (tag) => tag.replace(/\s+/g, ' ').replace(/ >$/, '>').replace(/ class=""/, '').replace(/ style=""/, ''))
    .replace(/>\n{{/g, '>{{').replace(/}}\n</g, '}}<');
}

function check(template) {
  const sample = template.replace(/{{\$\.(On)?Accent}}/g, '#1d4ed8').replace(/{{\$\.Start}}/g, 'left').replace(/{{\$\.Dir}}/g, 'ltr').replace(/{{[^}]*}}/g, '');
  const { issues } = caniemail({ clients, html: sample });
  const found = {};
  for (const kind of ['errors', 'warnings']) {
    for (const [client, list] of issues[kind]) {
      for (const { title, notes } of list) {
        const f = (found[title] ??= { errors: [], warnings: [] });
        if (!f[kind].includes(client)) f[kind].push(client);
      }
    }
  }
  return found;
}

const digest = (...texts) => createHash('sha256').update(texts.join('\n')).digest('hex');

const template = await build();
const found = check(template);
const lacking = Object.keys(found).filter((title) => found[title].errors.length > 0);
const unknown = lacking.filter((title) => !accepted[title]);
if (unknown.length > 0) fail(unknown.map((title) => `${title}: not supported by ${found[title].errors.join(', ')}`));
const idle = Object.keys(accepted).filter((title) => !lacking.includes(title));
if (idle.length > 0) fail([`accepted, but found nowhere: ${idle.join(', ')}`]);

writeFileSync(output, template);
writeFileSync('checked.json', JSON.stringify({
  sources: digest(...sources.map((name) => readFileSync(name, 'utf8'))),
  output: digest(template),
  clients,
  lacking: Object.fromEntries(lacking.sort().map((title) => [title, { by: found[title].errors.sort(), accepted: accepted[title] }])),
}, null, 1) + '\n');
