#!/usr/bin/env node
// The daemon as npm's dockerode sees it: create, attach, exec, logs, archives, events, stats.
//
//   NODE_PATH=$(tests/api/get-dockerode)/node_modules tests/api/dockerode.js SOCKET      -v: each that passed, too
// The image `busybox` has to be there (tests/api/run imports it).
'use strict';
const Docker = require('dockerode');
const { PassThrough } = require('stream');

const socketPath = process.argv.slice(2).find((word) => !word.startsWith('-'));
const verbose = process.argv.includes('-v');
const docker = new Docker({ socketPath });
const LIMIT_MS = 180000;
let passed = 0, failed = 0;

function check(name, good, detail) {
  if (good) { passed += 1; if (verbose) console.log(`passed ${name}`); return; }
  failed += 1;
  console.log(`FAILED ${name}\n  ${typeof detail === 'string' ? detail : JSON.stringify(detail)}`);
}
function equal(name, expected, found) {
  check(name, JSON.stringify(expected) === JSON.stringify(found), `expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
}
function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`${what}: nothing after ${LIMIT_MS} ms`)), LIMIT_MS); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
async function refused(name, status, promise) {
  try { await promise; check(name, false, 'was not refused'); } catch (error) {
    check(name, error.statusCode === status && ((error.json && error.json.message) || error.message), `${error.statusCode}: ${error.message}`);
  }
}
// What a multiplexed stream holds, at its end.
function split(stream) {
  const outputs = { out: '', err: '' };
  const out = new PassThrough(), err = new PassThrough();
  out.on('data', (data) => { outputs.out += data; });
  err.on('data', (data) => { outputs.err += data; });
  docker.modem.demuxStream(stream, out, err);
  return within(new Promise((resolve, reject) => {
    stream.on('end', () => setImmediate(() => resolve(outputs)));
    stream.on('error', reject);
  }), 'the end of a stream');
}
function whole(stream) {
  const chunks = [];
  stream.on('data', (data) => chunks.push(data));
  return within(new Promise((resolve, reject) => {
    stream.on('end', () => resolve(Buffer.concat(chunks)));
    stream.on('error', reject);
  }), 'the end of a stream');
}
// A ustar archive of one file.
function tarOf(name, content) {
  const header = Buffer.alloc(512);
  const octal = (value, length) => value.toString(8).padStart(length - 1, '0') + '\0';
  header.write(name, 0);
  header.write(octal(0o644, 8) + octal(0, 8) + octal(0, 8) + octal(content.length, 12) + octal(1600000000, 12), 100);
  header.write('        0', 148);
  header.write('ustar\x0000', 257);
  header.write(octal(header.reduce((sum, byte) => sum + byte, 0), 7) + ' ', 148);
  const padding = Buffer.alloc((512 - content.length % 512) % 512);
  return Buffer.concat([header, Buffer.from(content), padding, Buffer.alloc(1024)]);
}
const sleeper = (name) => docker.createContainer({ name, Image: 'busybox', Cmd: ['sleep', '1000'] });

const parts = {
  async system() {
    equal('ping', 'OK', (await docker.ping()).toString());
    equal('version', 'linux', (await docker.version()).Os);
    equal('info', 'linux', (await docker.info()).OSType);
    check('images', (await docker.listImages()).some((image) => (image.RepoTags || []).includes('busybox:latest')));
  },
  async attach_output() {
    const container = await docker.createContainer({ Image: 'busybox', Cmd: ['sh', '-c', 'echo out; echo err >&2; exit 6'] });
    const stream = await container.attach({ stream: true, stdout: true, stderr: true });
    const outputs = split(stream);
    await container.start();
    equal('attach: both streams', { out: 'out\n', err: 'err\n' }, await outputs);
    equal('wait', 6, (await container.wait()).StatusCode);
    equal('inspect', ['exited', 6], Object.values((({ Status, ExitCode }) => ({ Status, ExitCode }))((await container.inspect()).State)));
    await container.remove();
    await refused('inspect: removed', 404, container.inspect());
  },
  async attach_input() {
    const container = await docker.createContainer({
      Image: 'busybox', Cmd: ['wc', '-c'], OpenStdin: true, StdinOnce: true, AttachStdin: true });
    const stream = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
    const outputs = split(stream);
    await container.start();
    stream.write('x'.repeat(300000));
    stream.end();
    equal('attach: stdin to its end', '300000\n', (await outputs).out);
    await container.wait();
    await container.remove();
  },
  async terminal() {
    const container = await docker.createContainer({ Image: 'busybox', Cmd: ['sh'], Tty: true, OpenStdin: true });
    const stream = await container.attach({ stream: true, hijack: true, stdin: true, stdout: true, stderr: true });
    const text = whole(stream);
    await container.start();
    await container.resize({ h: 33, w: 99 });
    stream.write('stty size; exit 3\n');
    equal('terminal: the status', 3, (await container.wait()).StatusCode);
    check('terminal: resize', (await text).toString().includes('33 99'), (await text).toString());
    await container.remove();
  },
  async run() {
    const out = new PassThrough();
    let text = '';
    out.on('data', (data) => { text += data; });
    const [data, container] = await docker.run('busybox', ['echo', 'by run'], out, { Tty: false });
    equal('run', [0, true], [data.StatusCode, text.includes('by run')]);
    await container.remove();
  },
  async exec() {
    const container = await sleeper('node-exec');
    try {
      await container.start();
      let exec = await container.exec({ Cmd: ['sh', '-c', 'echo out; echo err >&2; exit 4'], AttachStdout: true, AttachStderr: true });
      equal('exec: streams', { out: 'out\n', err: 'err\n' }, await split(await exec.start({})));
      equal('exec: the status', [false, 4], Object.values((({ Running, ExitCode }) => ({ Running, ExitCode }))(await exec.inspect())));
      exec = await container.exec({ Cmd: ['cat'], AttachStdin: true, AttachStdout: true });
      const stream = await exec.start({ hijack: true, stdin: true });
      const outputs = split(stream);
      stream.write('to cat and back');
      stream.end();
      equal('exec: stdin', 'to cat and back', (await outputs).out);
      exec = await container.exec({ Cmd: ['tty'], AttachStdout: true, Tty: true });
      check('exec: a terminal', (await whole(await exec.start({ Tty: true }))).toString().includes('/dev/pts'));
      await refused('exec: no command', 400, container.exec({ Cmd: [] }));
    } finally { await container.remove({ force: true }); }
  },
  async logs() {
    const container = await docker.createContainer({ Image: 'busybox', Cmd: ['sh', '-c', 'for i in 1 2 3; do echo $i; sleep 1; done'] });
    await container.start();
    const stream = await container.logs({ follow: true, stdout: true, stderr: true });
    equal('logs: follow', '1\n2\n3\n', (await split(stream)).out);
    await container.wait();
    const buffer = await container.logs({ stdout: true, tail: 1 });
    equal('logs: tail', '\u0001\u0000\u0000\u0000\u0000\u0000\u0000\u00023\n', buffer.toString());
    await container.remove();
  },
  async archives() {
    for (const running of [true, false]) {
      const container = await sleeper();
      try {
        if (running) await container.start();
        await container.putArchive(tarOf('file', 'content'), { path: '/tmp' });
        const archive = await whole(await container.getArchive({ path: '/tmp/file' }));
        equal(`archive: running ${running}`, ['file', 'content'], [archive.toString('latin1', 0, 4), archive.toString('latin1', 512, 519)]);
        const info = await container.infoArchive({ path: '/tmp/file' });
        const stat = info.headers ? info.headers['x-docker-container-path-stat'] : undefined;
        if (stat) equal('archive: stat', 7, JSON.parse(Buffer.from(stat, 'base64').toString()).size);
        await refused('archive: no such file', 404, container.getArchive({ path: '/nosuch' }));
      } finally { await container.remove({ force: true }); }
    }
  },
  async events() {
    const stream = await docker.getEvents({ filters: { type: ['container'], label: ['by=node'] } });
    const seen = [];
    const done = within(new Promise((resolve) => {
      let rest = '';
      stream.on('data', (data) => {
        rest += data;
        const lines = rest.split('\n');
        rest = lines.pop();
        for (const line of lines) if (line) seen.push(JSON.parse(line).Action);
        if (seen.includes('destroy')) resolve();
      });
    }), 'the last event');
    const container = await docker.createContainer({ Image: 'busybox', Cmd: ['true'], Labels: { by: 'node' } });
    await container.start();
    await container.wait();
    await container.remove();
    await done;
    stream.destroy();
    equal('events', ['create', 'start', 'die', 'destroy'], seen);
  },
  async stats() {
    const container = await sleeper();
    try {
      await container.start();
      const one = await container.stats({ stream: false });
      check('stats: one', one.memory_stats.usage > 0 && one.pids_stats.current >= 1, one);
      const stream = await container.stats({ stream: true });
      let text = '';
      await within(new Promise((resolve) => stream.on('data', (data) => {
        text += data;
        if (text.split('\n').length > 2) resolve();
      })), 'two samples');
      stream.destroy();
      const [first, second] = text.split('\n').map((line) => line && JSON.parse(line));
      check('stats: a stream', second.read > first.read && second.cpu_stats.system_cpu_usage > 0, text);
      const top = await container.top();
      check('top', top.Processes.some((row) => row.join(' ').includes('sleep 1000')), top);
    } finally { await container.remove({ force: true }); }
  },
  async refusals() {
    await refused('create: no such image', 404, docker.createContainer({ Image: 'nosuch:1', Cmd: ['true'] }));
    await refused('start: no such container', 404, docker.getContainer('nosuch').start());
    await refused('create: a bad name', 400, docker.createContainer({ name: '../x', Image: 'busybox' }));
  },
};

(async () => {
  for (const [name, part] of Object.entries(parts)) {
    try { await within(part(), name); } catch (error) { check(name, false, error.stack || String(error)); }
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed || !passed ? 1 : 0);
})();
