// Worker threads with shared memory.
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

if (!isMainThread) {
	const counter = new Int32Array(workerData.shared);
	for (let i = 0; i < 10000; i++) Atomics.add(counter, 0, 1);
	parentPort.once('message', text => parentPort.postMessage(text + ' ' + workerData.n));
} else {
	const shared = new SharedArrayBuffer(4);
	const workers = [0, 1, 2, 3].map(n => new Promise((resolve, reject) => {
		const worker = new Worker(__filename, { workerData: { n, shared } });
		worker.postMessage('hello');
		worker.on('message', resolve);
		worker.on('error', reject);
	}));
	Promise.all(workers).then(replies => {
		console.log(replies.join(', '));
		const counter = new Int32Array(shared);
		const wait = () => counter[0] === 40000 ? console.log('counted', counter[0]) : setTimeout(wait, 5);
		wait();
	});
}
