// Computes for about a second and says how many milliseconds that took. 1 is for quick.
'use strict';

function fibonacci(n) {
	return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

function words(count) {
	const seen = new Map();
	for (let i = 0; i < count; i++) {
		const word = 'word' + (i % 1000);
		seen.set(word, (seen.get(word) || 0) + 1);
	}
	return JSON.parse(JSON.stringify([...seen].sort())).length;
}

function objects(count) {
	let list = [];
	for (let i = 0; i < count; i++)
		list.push({ id: i, name: `item ${(i * 7919) % 100003}`, tags: [i, i + 1] });
	list.sort((a, b) => (a.name < b.name ? -1 : 1));
	return list.map((item) => item.tags.length).reduce((a, b) => a + b, 0);
}

const start = process.hrtime.bigint();
for (let i = 0; i < (process.argv[2] === '1' ? 1 : 5); i++) {
	fibonacci(27);
	words(200000);
	objects(50000);
}
console.log(Number(process.hrtime.bigint() - start) / 1e6);
