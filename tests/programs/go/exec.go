// Child processes from Go: pipes, exit codes, signals, environment.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	out, err := exec.Command("echo", "hello", "from", "go").Output()
	fmt.Printf("%s%v\n", out, err)
	command := exec.Command("tr", "a-z", "A-Z")
	command.Stdin = strings.NewReader("pipe both ways\n")
	out, err = command.CombinedOutput()
	fmt.Printf("%s%v\n", out, err)
	command = exec.Command("sh", "-c", "echo $GREETING >&2; pwd; exit 9")
	command.Env = append(os.Environ(), "GREETING=hi")
	command.Dir = "/usr"
	out, err = command.CombinedOutput()
	fmt.Printf("%s%v\n", out, err)
	context, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	fmt.Println(exec.CommandContext(context, "sleep", "10").Run())
	_, err = exec.LookPath("no-such-program")
	fmt.Println(err)

	var group sync.WaitGroup
	var mutex sync.Mutex
	good := 0
	for i := 0; i < 30; i++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			err := exec.Command("sh", "-c", fmt.Sprintf("exit %d", n)).Run()
			code := 0
			if exit, ok := err.(*exec.ExitError); ok {
				code = exit.ExitCode()
			}
			mutex.Lock()
			if code == n {
				good++
			}
			mutex.Unlock()
		}(i)
	}
	group.Wait()
	fmt.Println("good", good)

	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	syscall.Kill(os.Getpid(), syscall.SIGUSR1)
	fmt.Println(<-signals)
	os.Exit(4)
}
