// An HTTP server and its clients on loopback.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "hello %s", r.URL.RawQuery) })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	base := "http://" + listener.Addr().String()
	client := &http.Client{Timeout: 20 * time.Second}

	var group sync.WaitGroup
	var mutex sync.Mutex
	good := 0
	for i := 0; i < 20; i++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			reply, err := client.Get(fmt.Sprintf("%s/hello?%d", base, n))
			if err != nil {
				fmt.Println(err)
				return
			}
			defer reply.Body.Close()
			body, _ := io.ReadAll(reply.Body)
			mutex.Lock()
			if reply.StatusCode == 200 && string(body) == fmt.Sprintf("hello %d", n) {
				good++
			}
			mutex.Unlock()
		}(i)
	}
	group.Wait()
	fmt.Println("good", good)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	reply, err := client.Post(base+"/echo", "application/octet-stream", bytes.NewReader(big))
	if err != nil {
		panic(err)
	}
	body, _ := io.ReadAll(reply.Body)
	fmt.Println("echo", len(body), bytes.Equal(body, big))
	reply, err = client.Get(base + "/missing")
	fmt.Println(reply.StatusCode, err)
	fmt.Println(server.Close())
	_, err = net.DialTimeout("tcp", listener.Addr().String(), time.Second)
	fmt.Println("closed", err != nil)
}
