# Runs a program, and ends it when whoever started this is gone.
#
# The starter holds the other end of standard input. However it ends, by itself, by Ctrl-C or by kill -9,
# the operating system closes that end, and that is the sign. The word "stay" is the other one: the program
# is left running.
#
# Arguments: the file for the program's output, the program, its arguments. Prints the program's number.

# Left running on purpose, it must not end with the terminal.
trap '' HUP INT

log=$1
shift
"$@" </dev/null >>"$log" 2>&1 &
child=$!
echo "$child"

read -r word
[ "$word" = stay ] && exit 0

kill "$child" 2>/dev/null
tries=0
while kill -0 "$child" 2>/dev/null && [ $tries -lt 100 ]; do
    sleep 0.05
    tries=$((tries + 1))
done
kill -9 "$child" 2>/dev/null
wait
