# needs: node
node -e 'console.log(process.version, [1,2,3].map(n => n * n), process.argv.length)'
echo 'console.log("from standard input")' | node
node -e 'setTimeout(() => { console.error("late"); process.exit(2) }, 20)'
echo "status $?"
node -e 'throw new Error("thrown")' 2>&1 | grep -c thrown
