//! Servers that take a connection and do not answer: hazard 5.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use backstay_testkit::scratch_dir;
use backstay_types::{
    Secret,
    backup::job::{FailedKind, Target, Task},
};

use crate::{
    job::{Bench, noise},
    rest_server::{CREDENTIAL, RestServer},
    tree::many_small,
};

/// Takes connections and says nothing.
fn mute() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let kept: Vec<_> = listener.incoming().collect();
        drop(kept);
    });
    address
}

fn rest(address: &str) -> Target {
    let url = format!("http://{address}/agent/v1/repository/");
    Target::Rest { url, credential: Secret::new(CREDENTIAL), ca_file: None }
}

#[test]
fn a_server_that_accepts_and_never_answers_fails_the_job_in_time() {
    let address = mute();
    let s3 = Target::S3 {
        endpoint: format!("http://{address}"),
        region: "us-east-1".to_owned(),
        bucket: "b".to_owned(),
        prefix: String::new(),
        access_key: "key".to_owned(),
        secret_key: Secret::new("secret"),
    };
    for target in [rest(&address), s3] {
        let mut bench = Bench::at(scratch_dir(), target);
        bench.silence_seconds = 2;
        let outcome = bench.run(Task::List);
        // Two tries of two seconds, and what is between them.
        assert!(outcome.took < Duration::from_secs(15), "{:?}", outcome.took);
        let failed = outcome.failed();
        assert_eq!(failed.kind, FailedKind::Unreachable, "{failed:?}");
        assert!(failed.message.contains("nothing moved for 2 s"), "{failed:?}");
    }
}

/// A way to a server that can go silent: nothing more gets through, and nothing is closed.
struct Way {
    address: String,
    silent: Arc<AtomicBool>,
}

fn way_to(server: &str) -> Way {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = Arc::new(AtomicBool::new(false));
    let (server, shared) = (server.to_owned(), silent.clone());
    thread::spawn(move || {
        for inward in listener.incoming().flatten() {
            let outward = TcpStream::connect(&server).unwrap();
            for (mut from, mut to) in
                [(inward.try_clone().unwrap(), outward.try_clone().unwrap()), (outward, inward)]
            {
                let silent = shared.clone();
                thread::spawn(move || {
                    let mut buffer = vec![0; 64 * 1024];
                    while let Ok(read @ 1..) = from.read(&mut buffer) {
                        while silent.load(SeqCst) {
                            thread::sleep(Duration::from_millis(100));
                        }
                        if to.write_all(&buffer[..read]).is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
    Way { address, silent }
}

#[test]
fn a_server_that_goes_silent_half_way_fails_the_backup_in_time_and_the_next_one_is_right() {
    let server = RestServer::start();
    let mut bench = server.bench();
    bench.init();
    let Target::Rest { url, .. } = &bench.repository.target else { panic!() };
    let address = url.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    let way = way_to(&address);
    let direct = bench.repository.target.clone();
    bench.repository.target = rest(&way.address);
    bench.silence_seconds = 2;
    bench.bytes_per_second = Some(8_000_000);
    let from = bench.path("from");
    many_small(&from, 100);
    std::fs::write(from.join("large"), noise(1, 60_000_000)).unwrap();
    let child = bench.start(bench.save_task(&from));
    thread::sleep(Duration::from_secs(3));
    way.silent.store(true, SeqCst);
    let begun = std::time::Instant::now();
    let said = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(said.lines().last().unwrap().contains(r#""kind":"unreachable""#), "{said}");
    bench.repository.target = direct;
    bench.bytes_per_second = None;
    assert!(bench.list().is_empty());
    let made = bench.save(&from);
    bench.verify(made.id);
}

#[test]
fn a_slow_limit_is_not_taken_for_silence() {
    let server = RestServer::start();
    let mut bench = server.bench();
    bench.init();
    let from = bench.path("from");
    std::fs::create_dir(&from).unwrap();
    std::fs::write(from.join("file"), noise(1, 200_000)).unwrap();
    bench.silence_seconds = 2;
    // A piece of 64 KiB waits for more than two seconds.
    bench.bytes_per_second = Some(25_000);
    let made = bench.save(&from);
    bench.bytes_per_second = None;
    bench.verify(made.id);
}
