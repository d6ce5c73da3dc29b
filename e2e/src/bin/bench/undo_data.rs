//! A release that spoilt a database and files, taken back with what it did to them.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use backstay_e2e::{Fleet, Node};
use backstay_testkit::{Image, Restic, eventually, http};
use backstay_types::backup::BackupReason;

use crate::{
    figures::{Figures, median, timed},
    saved::{self, ByHand},
    stack::MISSING,
};

/// A quarter of it is in PostgreSQL, the rest in files.
pub(crate) const MB: u64 = 1_024;
const ROUNDS: u64 = 3;
/// Of a row, with what PostgreSQL keeps beside it.
const ROW_BYTES: u64 = 256;

/// In seconds, from the command to verified healthy with the data of before; the baseline is the same data restored by
/// hand: restic, `pg_restore` and Compose.
pub(crate) fn measure(mb: u64) -> Result<Figures, String> {
    let restic = Restic::require().ok_or(MISSING)?;
    let target = format!("{{ folder = \"{}/backups\" }}", backstay_e2e::DIR);
    let fleet = Fleet::of(1).containers().as_shipped().hub_setting("BACKSTAY_BACKUP_TARGET", &target).start();
    let shop = Shop::start(fleet.ok_or(MISSING)?, mb)?;
    let key = shop.fleet.dir().join("recovery.key").display().to_string();
    shop.fleet.cli.run(&["backup", "recovery-key", "make", "--out", &key]);
    let (mut ours, mut by_hand, mut restores, mut still) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let wanted = shop.state()?;
        let conversation = shop.release(round)?;
        let snapshot =
            saved::proven(&shop.fleet, "alpha", BackupReason::Deployment).kept.snapshot.id.to_string();
        shop.spoil(round)?;
        let undo = ["rollback", "--conversation", &conversation, "--with-data", "--yes"];
        let ((undo, took), unserved) = shop.unserved(|| timed(|| shop.fleet.cli.json(&undo)));
        if undo["state"]["state"] != "verified" {
            return Err(format!("the undo ended otherwise: {undo:#}"));
        }
        shop.is(&wanted)?;
        ours.push(took / 1e3);
        still.push(unserved);

        shop.spoil(round + 100)?;
        let restore = ["restore", "alpha/shop", "--snapshot", &snapshot, "--yes"];
        let (_, took) = timed(|| shop.fleet.cli.run(&restore));
        shop.is(&wanted)?;
        restores.push(took / 1e3);

        let repository = ByHand::open(&shop.fleet, restic.clone(), "alpha", &key);
        shop.spoil(round + 200)?;
        let (done, took) = timed(|| shop.restore_by_hand(&repository, &snapshot));
        done?;
        shop.is(&wanted)?;
        by_hand.push(took / 1e3);
        eprintln!(
            "round {}: undo {:.1} s (stood still {:.1} s), restore {:.1} s, by hand {:.1} s",
            round + 1,
            ours[round as usize],
            still[round as usize],
            restores[round as usize],
            by_hand[round as usize]
        );
        shop.fleet.tree.pull();
    }
    let baseline = median(&by_hand);
    let figures = Figures { value: median(&ours), baseline: Some(baseline), ..Figures::default() };
    Ok(figures
        .with("restore_s", median(&restores))
        .with("still_s", median(&still))
        .with("still_ratio", median(&still) / baseline)
        .with("mb", mb as f64)
        .with_all("rounds_s", &ours)
        .with_all("baseline_rounds_s", &by_hand))
}

/// A stack with a database and a volume of files, on one node.
struct Shop {
    fleet: Fleet,
    mb: u64,
}

impl Shop {
    fn start(fleet: Fleet, mb: u64) -> Result<Self, String> {
        let node = &fleet.nodes[0];
        node.docker().postgres_image("db:16").ok_or(MISSING)?;
        for version in 0..=ROUNDS {
            node.docker().image(&format!("web:v{version}"), &Image::web(&format!("v{version}")));
        }
        let shop = Self { fleet, mb };
        shop.write("web:v0");
        shop.fleet.commit("Add shop", None);
        shop.fleet.follow();
        shop.fleet.settle();
        saved::fill(&shop.files(), mb * 3 / 4, 1)?;
        shop.sql("postgres", "create database shop");
        let rows = (mb << 20) / 4 / ROW_BYTES;
        let fill = format!(
            "create table orders as select n, repeat(md5(n::text), 6) as note, 0 as state from generate_series(1, {rows}) n"
        );
        shop.sql("shop", &fill);
        shop.sql("shop", "alter table orders add primary key (n)");
        Ok(shop)
    }

    /// The stack with this image of its service `web`.
    fn write(&self, image: &str) {
        let port = self.node().port();
        let compose = format!(
            "services:\n  db:\n    image: db:16\n    stop_signal: SIGINT\n    volumes: ['pg:/data']\n  web:\n    \
             image: {image}\n    ports: ['127.0.0.1:{port}:8080']\n    volumes: ['files:/data']\nvolumes:\n  \
             pg: {{}}\n  files: {{}}\n"
        );
        let manifest = "[[probe]]\ncontainer = true\n[[backup]]\nname = \"orders\"\npostgres = { service = \"db\", \
                        database = \"shop\", user = \"postgres\" }\n[[backup]]\nvolume = \"files\"\n";
        let tree = &self.fleet.tree;
        tree.write("stacks/shop/compose.yaml", &compose).write("stacks/shop/stack.toml", manifest);
    }

    fn node(&self) -> &Node {
        &self.fleet.nodes[0]
    }

    fn files(&self) -> PathBuf {
        saved::volume(self.node(), "shop_files")
    }

    fn container(&self, service: &str) -> String {
        self.node().docker().service(service).expect("a container").id
    }

    fn sql(&self, database: &str, sql: &str) -> String {
        self.node().docker().run(&["exec", &self.container("db"), "psql", "-d", database, "-tAc", sql])
    }

    /// What tells whether the data is the same.
    fn state(&self) -> Result<[String; 2], String> {
        let orders = "select count(*), sum(state), sum(n::numeric), md5(string_agg(note, '' order by n)) from orders \
                      where n % 100 = 1";
        Ok([saved::sum(&self.files())?, self.sql("shop", orders)])
    }

    fn is(&self, wanted: &[String; 2]) -> Result<(), String> {
        let found = self.state()?;
        if found == *wanted { Ok(()) } else { Err(format!("other data: {found:?} instead of {wanted:?}")) }
    }

    /// A conversation's release; gives the conversation.
    fn release(&self, round: u64) -> Result<String, String> {
        let conversation = self.fleet.api.conversation(&format!("round-{round}"));
        self.write(&format!("web:v{}", round + 1));
        let commit = self.fleet.commit(&format!("Run v{}", round + 1), Some(conversation));
        self.fleet.deployed(&commit);
        Ok(conversation.to_string())
    }

    /// What a release that goes wrong does to the data: 1 % of the files and of the rows.
    fn spoil(&self, round: u64) -> Result<(), String> {
        saved::spoil(&self.files(), self.mb * 3 / 4, round + 2)?;
        self.sql("shop", &format!("update orders set state = {} where n % 100 = 1", round + 1));
        Ok(())
    }

    /// What somebody does who has restic, the dump and Compose: what writes is stopped, files are restored over what is
    /// there, the dump is loaded into a new database that takes the place of the old one.
    fn restore_by_hand(&self, repository: &ByHand, snapshot: &str) -> Result<(), String> {
        let docker = self.node().docker();
        let (db, web) = (self.container("db"), self.container("web"));
        docker.run(&["stop", &web]);
        let files = self.files().display().to_string();
        repository.run(&["restore", &format!("{snapshot}:/files"), "--target", &files, "--delete"])?;
        let dumps = self.fleet.dir().join("dumps").display().to_string();
        repository.run(&["restore", &format!("{snapshot}:/orders"), "--target", &dumps])?;
        docker.run(&["cp", &format!("{dumps}/shop.dump"), &format!("{db}:/tmp/shop.dump")]);
        self.sql("postgres", "create database shop_new");
        docker.run(&["exec", &db, "pg_restore", "-d", "shop_new", "/tmp/shop.dump"]);
        self.sql("postgres", "drop database shop with (force)");
        self.sql("postgres", "alter database shop_new rename to shop");
        docker.run(&["start", &web]);
        eventually("the service to be healthy", || {
            let health = docker.service("web").map(|web| web.health).unwrap_or_default();
            if health == "healthy" { Ok(()) } else { Err(health) }
        });
        Ok(())
    }

    /// Does something, and gives for how many seconds at a stretch nobody was served meanwhile, at the worst.
    fn unserved<T>(&self, work: impl FnOnce() -> T) -> (T, f64) {
        let (url, ended) = (format!("http://127.0.0.1:{}/", self.node().port()), AtomicBool::new(false));
        thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let (mut last, mut worst) = (Instant::now(), Duration::ZERO);
                while !ended.load(Ordering::Relaxed) {
                    if http::get(&url).is_ok_and(|answer| answer.status == 200) {
                        worst = worst.max(last.elapsed());
                        last = Instant::now();
                    }
                    thread::sleep(Duration::from_millis(20));
                }
                worst.max(last.elapsed())
            });
            let done = work();
            ended.store(true, Ordering::Relaxed);
            (done, watch.join().expect("somebody who watches").as_secs_f64())
        })
    }
}
