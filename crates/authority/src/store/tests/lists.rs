//! Lists: the inventory, and the order of what is listed.

use super::*;

on_both!(
    rows_of_the_inventory_replace_and_trade_and_conflict,
    lists_are_in_the_order_of_octets,
    imports_at_once_replace_each_other,
);

fn row(device: &str, identity: ListedIdentity) -> InventoryRow {
    InventoryRow {
        device: device.to_owned(),
        account: "alice".to_owned(),
        identity,
        model: "a \"model\" of 2\u{b5}m".to_owned(),
        is_virtual: true,
        digest: [3; 32],
        approver: "somebody".to_owned(),
    }
}

fn serial(number: &str) -> ListedIdentity {
    ListedIdentity::Serial { vendor: "maker".to_owned(), serial: number.to_owned() }
}

fn import(store: &dyn Store, rows: Vec<InventoryRow>) -> Result<(), StoreError> {
    store.import(InventoryImport { rows }, decision(DecisionKind::Inventory))
}

fn rows_of_the_inventory_replace_and_trade_and_conflict(place: &dyn Place) {
    let store = place.open();
    let ek = ListedIdentity::EndorsementKey([1; 32]);
    import(&*store, Vec::new()).unwrap();
    import(&*store, vec![row("one", ek.clone()), row("two", serial("2"))]).unwrap();
    assert_eq!(store.listed(&ek).unwrap(), Some(row("one", ek.clone())));
    assert_eq!(store.listed(&serial("2")).unwrap(), Some(row("two", serial("2"))));
    assert_eq!(store.listed(&serial("3")).unwrap(), None);
    assert_eq!(store.listed_device("two").unwrap(), Some(row("two", serial("2"))));
    assert_eq!(store.listed_device("Two").unwrap(), None);
    // They trade their modules.
    import(&*store, vec![row("one", serial("2")), row("two", ek.clone())]).unwrap();
    assert_eq!(store.listed(&ek).unwrap().unwrap().device, "two");
    for conflicting in [
        vec![row("three", ek.clone())],
        vec![row("three", serial("2"))],
        vec![row("x", serial("8")), row("x", serial("9"))],
    ] {
        let refused = import(&*store, [vec![row("four", serial("4"))], conflicting].concat()).unwrap_err();
        assert!(matches!(refused, StoreError::InventoryConflict), "{refused:?}");
    }
    let devices = || store.inventory().unwrap().into_iter().map(|row| row.device).collect::<Vec<_>>();
    assert_eq!(devices(), ["one", "two"]);
    assert!(store.remove_listed("one", decision(DecisionKind::Inventory)).unwrap());
    assert!(!store.remove_listed("one", decision(DecisionKind::Inventory)).unwrap());
    assert_eq!(devices(), ["two"]);
}

fn lists_are_in_the_order_of_octets(place: &dyn Place) {
    let store = place.open();
    let names = ["b", "a-b", "B", "ab", "a_b", "A"];
    for (number, name) in (1..).zip(names) {
        store.enroll(key(name, number, number), decision(DecisionKind::Activation), Vec::new()).unwrap();
    }
    import(&*store, names.iter().map(|name| row(name, serial(name))).collect()).unwrap();
    let mut sorted = names;
    sorted.sort_unstable();
    assert_eq!(store.attesting_keys().unwrap().into_iter().map(|key| key.device).collect::<Vec<_>>(), sorted);
    assert_eq!(store.inventory().unwrap().into_iter().map(|row| row.device).collect::<Vec<_>>(), sorted);
}

fn imports_at_once_replace_each_other(place: &dyn Place) {
    let instances = [place.open(), place.open()];
    std::thread::scope(|scope| {
        for (index, store) in instances.iter().enumerate() {
            for half in 0..4 {
                scope.spawn(move || {
                    for round in 0..5 {
                        let rows = ["one", "two", "three"]
                            .map(|device| row(device, serial(&format!("{device} {index} {half} {round}"))));
                        import(&**store, rows.to_vec()).unwrap();
                    }
                });
            }
        }
    });
    let left = instances[0].inventory().unwrap();
    assert_eq!(left.len(), 3);
}
