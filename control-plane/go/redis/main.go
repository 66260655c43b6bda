// redis is a server that speaks Redis' protocol and keeps everything in memory, for what needs one beside it
// while it is tried. It listens at the address that it is given, and says so in a line.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: redis HOST:PORT")
		os.Exit(2)
	}
	server := miniredis.NewMiniRedis()
	if err := server.StartAddr(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "redis:", err)
		os.Exit(1)
	}
	fmt.Println("redis listening on", server.Addr())
	// Its clock stands still unless somebody moves it on, and keys would never expire.
	for range time.Tick(time.Second) {
		server.FastForward(time.Second)
	}
}
