// Child processes, pipes, signals, files, timers and an HTTP server in Node.
const { exec, execFileSync, spawn, fork, spawnSync } = require('child_process');
const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');

if (process.argv[2] === 'child') {
	process.on('message', message => { process.send({ doubled: message.n * 2 }); process.disconnect(); });
} else main();

async function main() {
	console.log(execFileSync('echo', ['from', 'a', 'child']).toString().trim());
	console.log(spawnSync('sh', ['-c', 'cat >&2; exit 3'], { input: 'text' }).status);
	await new Promise(done => exec('printf "%s" "$X"', { env: { ...process.env, X: 'env' } }, (error, out) => { console.log(error, out); done(); }));
	await new Promise(done => {
		const child = spawn('sleep', ['100']);
		child.on('exit', (code, signal) => { console.log(code, signal); done(); });
		child.kill('SIGTERM');
	});
	await new Promise(done => {
		const child = fork(__filename, ['child']);
		child.on('message', message => console.log(message));
		child.on('exit', code => { console.log('exit', code); done(); });
		child.send({ n: 21 });
	});
	const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'node-'));
	await Promise.all([...Array(50).keys()].map(n => fs.promises.writeFile(path.join(dir, `f${n}`), 'x'.repeat(n))));
	console.log((await fs.promises.readdir(dir)).length, fs.statSync(path.join(dir, 'f49')).size);
	fs.rmSync(dir, { recursive: true });
	const server = http.createServer((request, response) => response.end(request.url));
	await new Promise(done => server.listen(0, '127.0.0.1', done));
	const get = url => new Promise((done, fail) => http.get(url, response => {
		let body = '';
		response.on('data', data => body += data).on('end', () => done(body));
	}).on('error', fail));
	const base = `http://127.0.0.1:${server.address().port}`;
	console.log((await Promise.all([1, 2, 3].map(n => get(`${base}/${n}`)))).join(' '));
	server.close();
	process.on('SIGUSR2', () => { console.log('caught'); process.exitCode = 7; clearInterval(timer); });
	const timer = setInterval(() => {}, 1000);
	process.kill(process.pid, 'SIGUSR2');
}
