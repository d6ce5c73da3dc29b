//! The stacks that tests deploy.

use backstay_testkit::WorkTree;

/// The file that conversations change: ten lines, so that changes far apart do not touch.
pub const LINES: [&str; 10] = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];

/// Its path in the repository.
pub const CONF: &str = "stacks/web/www/app.conf";

/// Writes the stack `web`, which serves its folder `www` on the node's port as a process. It is
/// healthy when `www/healthz` is there.
pub fn write_process_stack(tree: &WorkTree) {
    tree.write("stacks/web/stack.toml", PROCESS)
        .write("stacks/web/.env.template", "PORT=\n")
        .write("stacks/web/www/healthz", "ok\n")
        .write(CONF, &conf(&[]))
        .write_executable(
            "stacks/web/serve",
            "#!/bin/sh\nexec busybox httpd -f -p \"127.0.0.1:$1\" -h www\n",
        );
}

const PROCESS: &str = r#"runtime = "process"

[[process]]
name = "web"
command = ["./serve", "${PORT}"]
stop_grace = "1s"

[[probe]]
http = "http://127.0.0.1:${PORT}/healthz"
every = "200ms"
within = "5s"

[bake]
for = "300ms"
"#;

/// The file with some lines changed: `(number from 1, text)`.
pub fn conf(changes: &[(usize, &str)]) -> String {
    let mut lines = LINES.map(str::to_owned);
    for (number, text) in changes {
        (*text).clone_into(&mut lines[number - 1]);
    }
    lines.join("\n") + "\n"
}

/// Changes one line of the file as it is in the work tree.
///
/// # Panics
/// When it has no such line.
pub fn set_line(tree: &WorkTree, number: usize, text: &str) {
    let file = tree.read(CONF);
    let mut lines: Vec<_> = file.lines().collect();
    lines[number - 1] = text;
    tree.write(CONF, &(lines.join("\n") + "\n"));
}
