//! A full disk: refused whole, usable afterwards, and space kept for what runs.

use orchd_model::{Sequence, TaskSpec};
use orchd_store::{Store, StoreError};
use std::fs;

use crate::world::World;
use crate::{open, temp_dir};

fn large(world: &mut World, tasks: usize) {
    for _ in 0..tasks {
        world.submit(TaskSpec::shell("x".repeat(1000)));
    }
}

#[test]
fn a_batch_that_does_not_fit_is_refused_whole_and_may_come_again() {
    let dir = temp_dir();
    let mut store = open(&dir);
    store.limit_pages(64).unwrap();
    let mut world = World::new();
    let refused = loop {
        large(&mut world, 10);
        let batch = world.batch();
        let before = store.load().unwrap();
        match store.commit(&batch) {
            Ok(()) => continue,
            Err(StoreError::Full) => {
                assert_eq!(store.load().unwrap(), before, "nothing of it is there");
                break batch;
            }
            Err(other) => panic!("{other}"),
        }
    };
    let first = refused.events[0].sequence;
    assert_eq!(store.reader().unwrap().events(Sequence(first.0 - 1), 1).unwrap(), []);
    assert!(matches!(store.commit(&refused), Err(StoreError::Full)), "it stays full");
    store.limit_pages(10_000).unwrap();
    store.commit(&refused).unwrap();
    assert_eq!(store.load().unwrap().tasks.len(), world.tasks.len());
    store.integrity().unwrap();
}

#[test]
fn environments_of_a_refused_batch_are_written_with_the_next_one() {
    let dir = temp_dir();
    let mut store = open(&dir);
    let mut world = World::new();
    store.commit(&world.batch()).unwrap();
    store.limit_pages(40).unwrap();
    let mut spec = TaskSpec::shell("true");
    spec.env = [("HOME".to_owned(), "/home/user".to_owned())].into();
    let id = world.submit(spec.clone());
    large(&mut world, 500);
    let batch = world.batch();
    assert!(matches!(store.commit(&batch), Err(StoreError::Full)));
    store.limit_pages(10_000).unwrap();
    store.commit(&batch).unwrap();
    assert_eq!(*store.reader().unwrap().spec(id).unwrap().unwrap(), spec);
}

#[test]
fn the_reserve_is_real_space_that_can_be_given_up_and_taken_again() {
    use std::os::unix::fs::MetadataExt;
    let dir = temp_dir();
    let mut store = open(&dir);
    let reserve = dir.path().join("reserve");
    let metadata = fs::metadata(&reserve).unwrap();
    assert_eq!(metadata.len(), 8 << 20);
    assert!(metadata.blocks() * 512 >= 8 << 20, "not a sparse file");
    assert!(store.release_reserve().unwrap());
    assert!(!reserve.exists() && !store.release_reserve().unwrap());
    store.restore_reserve().unwrap();
    store.restore_reserve().unwrap();
    assert_eq!(fs::metadata(&reserve).unwrap().len(), 8 << 20);
}
