<?php
// What php-fpm runs of the corpus; settings.json beside it says who is asked, and by how many seconds the clock is ahead.
//
//   /mysqli/DEED/N...   mysqli, which prepares in the server, a connection for each request
//   /pdo/DEED/N...      PDO, which prepares in the server       /text/DEED/N...   PDO, which does not

$settings = json_decode(file_get_contents(__DIR__ . '/settings.json'), true);
$account = $settings['mysql'];
[, $client, $deed] = $words = explode('/', $_SERVER['DOCUMENT_URI']);
$args = array_slice($words, 3);
$now = time() + $settings['later'];
$clock = gmdate('Y-m-d H:i:s', $now);
$uuid = vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split(bin2hex(random_bytes(16)), 4));
$holes = fn (array $values): string => implode(', ', array_fill(0, count($values), '?'));

$work = match ($deed) {
    'item' => [['SELECT id, name, price FROM items WHERE id = ?', [(int) $args[0]]]],
    'two' => [
        ['SELECT id, name, price FROM items WHERE id = ?', [(int) $args[0]]],
        ['SELECT COUNT(*) AS dearer FROM items WHERE price > ?', [$args[1]]],
    ],
    'among' => [["SELECT id, price FROM items WHERE id IN ({$holes($args)})", array_map(intval(...), $args)]],
    'page' => [['SELECT id, name FROM items WHERE id > ? ORDER BY id LIMIT ?', [(int) $args[0], 10]]],
    'search' => [['SELECT id FROM items WHERE name LIKE ?', ["%{$args[0]}%"]]],
    'login' => [[
        'INSERT INTO sessions (token, person, created_at) VALUES (?, ?, ?)',
        [bin2hex(random_bytes(24)), (int) $args[0], $clock],
    ]],
    'session' => [['SELECT person FROM sessions WHERE token = ?', [$args[0]]]],
    'buy' => [
        ['START TRANSACTION', null],
        ['INSERT INTO orders (id, person, status, created_at) VALUES (?, ?, ?, ?)', [$uuid, (int) $args[0], 'new', $clock]],
        ['INSERT INTO order_lines (order_id, item, quantity) VALUES (?, ?, ?)', [$uuid, (int) $args[1], (int) $args[2]]],
        ['UPDATE items SET stock = stock - ?, updated_at = ? WHERE id = ?', [(int) $args[2], $clock, (int) $args[1]]],
        ['COMMIT', null],
    ],
    'price' => [['UPDATE items SET price = ?, updated_at = ? WHERE id = ?', [$args[1], $clock, (int) $args[0]]]],
    'forget' => [['DELETE FROM sessions WHERE person = ?', [(int) $args[0]]]],
};

function by_mysqli(array $account, array $work): array
{
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $connection = new mysqli('127.0.0.1', $account['user'], $account['password'], $account['database'], $account['port']);
    $connection->set_charset('utf8mb4');
    $answers = [];
    foreach ($work as [$sql, $values]) {
        if ($values === null) {
            $answers[] = $connection->query($sql);
            continue;
        }
        $statement = $connection->prepare($sql);
        // Numbers go as such: `execute` with values would send all of them as text.
        $types = implode(array_map(fn ($value) => is_int($value) ? 'i' : 's', $values));
        $statement->bind_param($types, ...$values);
        $statement->execute();
        $result = $statement->get_result();
        $answers[] = $result === false ? $statement->affected_rows : $result->fetch_all(MYSQLI_ASSOC);
        $statement->close();
    }
    return $answers;
}

function by_pdo(array $account, array $work, bool $emulated): array
{
    $name = "mysql:host=127.0.0.1;port={$account['port']};dbname={$account['database']};charset=utf8mb4";
    $options = [PDO::ATTR_EMULATE_PREPARES => $emulated];
    $connection = new PDO($name, $account['user'], $account['password'], $options);
    $answers = [];
    foreach ($work as [$sql, $values]) {
        if ($values === null) {
            $answers[] = $connection->exec($sql);
            continue;
        }
        $statement = $connection->prepare($sql);
        foreach ($values as $at => $value) {
            $statement->bindValue($at + 1, $value, is_int($value) ? PDO::PARAM_INT : PDO::PARAM_STR);
        }
        $statement->execute();
        $answers[] = $statement->columnCount() === 0 ? $statement->rowCount() : $statement->fetchAll(PDO::FETCH_ASSOC);
    }
    return $answers;
}

try {
    $answer = match ($client) {
        'mysqli' => by_mysqli($account, $work),
        'pdo' => by_pdo($account, $work, false),
        'text' => by_pdo($account, $work, true),
    };
} catch (Exception $error) {
    http_response_code(502);
    $answer = [get_class($error), $error->getMessage()];
}
$body = json_encode($answer);
header('Content-Length: ' . strlen($body));
echo $body;
