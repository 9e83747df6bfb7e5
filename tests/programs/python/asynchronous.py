# asyncio: tasks, subprocesses, TCP and unix servers, signals, timeouts, executor.
import asyncio
import os
import signal
import sys


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def client(open_connection, *where):
    reader, writer = await open_connection(*where)
    writer.write(b"x" * 100000)
    writer.write_eof()
    data = await reader.read()
    writer.close()
    return len(data)


async def main():
    print(await asyncio.gather(*(asyncio.sleep(0.01, n) for n in range(5))))
    try:
        await asyncio.wait_for(asyncio.sleep(10), 0.05)
    except asyncio.TimeoutError:
        print("timeout")
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(await asyncio.gather(*(client(asyncio.open_connection, "127.0.0.1", port) for _ in range(10))))
    server.close()
    server = await asyncio.start_unix_server(echo, "socket")
    print(await client(asyncio.open_unix_connection, "socket"))
    server.close()
    process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    print(await process.communicate(b"through cat"))
    process = await asyncio.create_subprocess_shell("sleep 10 & kill -9 $$")
    print(await process.wait())
    loop = asyncio.get_running_loop()
    caught = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, caught.set)
    os.kill(os.getpid(), signal.SIGUSR1)
    await caught.wait()
    print(await loop.run_in_executor(None, sum, range(100)))
    lock, events = asyncio.Lock(), []
    async def locked(n):
        async with lock:
            events.append(n)
            await asyncio.sleep(0)
    async with asyncio.TaskGroup() as group:
        for n in range(3):
            group.create_task(locked(n))
    print(events)
    r, w = os.pipe()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(r))
    os.write(w, b"pipe\n")
    print(await reader.readline())
    os.unlink("socket")


asyncio.run(main())
sys.exit(2)
