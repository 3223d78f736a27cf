"""The grammar of make_corpus.py: who, where, what goes wrong, who helps, how it ends.

A story is an opening, a setting, a problem, a turn and an ending. Sentences are templates: {hero}, {he}, {him},
{his}, {He}, {His} speak of the main character, {friend}, {fhe}, {fhim}, {fhis}, {Fhe} of the other, {thing} and
{place} of the world; [a|b|c] is a choice. Half of the stories turn out well and half do not, so that a
judge of moods has something to move.
"""

MASK = (1 << 64) - 1


class Random:
    """SplitMix64 (Steele et al. 2014), one stream a story."""

    def __init__(self, seed, stream):
        self.state = (seed * 0x9E3779B97F4A7C15 + stream * 0xD1342543DE82EF95) & MASK

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        return (self.next() * n) >> 64

    def pick(self, choices):
        return choices[self.below(len(choices))]

    def chance(self, percent):
        return self.below(100) < percent


class Character:
    def __init__(self, name, kind, pronouns):
        self.name = name
        self.kind = kind
        self.he, self.him, self.his = pronouns


class Place:
    def __init__(self, name, fun, sights, thing_spots):
        self.name = name
        self.fun = fun
        self.sights = sights
        self.thing_spots = thing_spots


SHE = ("she", "her", "her")
HE = ("he", "him", "his")
GIRLS = ["Lily", "Mia", "Anna", "Sara", "Lucy", "Emma", "Zoe", "Ella", "Rose", "Nina"]
BOYS = ["Tom", "Ben", "Max", "Sam", "Tim", "Leo", "Jack", "Finn", "Noah", "Dan"]
ANIMALS = [("cat", ["Luna", "Mimi"], ["Felix", "Tiger"]), ("dog", ["Bella", "Daisy"], ["Spot", "Rex"]),
           ("rabbit", ["Honey", "Clover"], ["Hop", "Benny"]), ("bear", ["Molly", "Berry"], ["Bruno", "Teddy"]),
           ("mouse", ["Pip", "Dot"], ["Nibbles", "Oscar"]), ("bird", ["Sky", "Robin"], ["Chirp", "Blue"]),
           ("fox", ["Ruby", "Amber"], ["Rusty", "Red"]), ("duck", ["Della", "Puddle"], ["Quack", "Drake"])]
TRAITS = ["little", "kind", "brave", "shy", "clever", "curious", "quiet", "playful", "young", "funny"]

PLACES = [
    Place("the park", ["play on the swings", "run on the grass", "slide down the big slide"],
          ["the tall trees", "the green grass", "the flowers"], ["under a bench", "behind a tree", "in the grass"]),
    Place("the forest", ["climb the old trees", "look for berries", "walk on the soft moss"],
          ["the big trees", "the tiny mushrooms", "the birds"], ["under a bush", "in a hollow tree", "near a rock"]),
    Place("the beach", ["build sand castles", "look for shells", "jump over the waves"],
          ["the blue sea", "the white sand", "the boats"], ["in the sand", "behind a rock", "near the water"]),
    Place("the garden", ["water the flowers", "look for bugs", "pick red apples"],
          ["the roses", "the butterflies", "the apple tree"], ["under a leaf", "behind the shed", "in a flower pot"]),
    Place("the farm", ["feed the chickens", "ride on the wagon", "pet the sheep"],
          ["the cows", "the red barn", "the yellow hay"], ["in the hay", "behind the barn", "near the fence"]),
    Place("the lake", ["throw stones in the water", "feed the ducks", "sail a paper boat"],
          ["the calm water", "the ducks", "the tall reeds"], ["near the water", "under the bridge", "in the reeds"]),
    Place("the hill", ["fly a kite", "roll down the grass", "look at the clouds"],
          ["the clouds", "the far houses", "the wide sky"], ["in the tall grass", "behind a stone", "under a bush"]),
    Place("the village", ["visit the shops", "listen to the music", "smell the fresh bread"],
          ["the small houses", "the old clock", "the busy shops"], ["near the well", "behind a cart", "behind a wall"]),
]
THINGS = ["red ball", "blue kite", "toy car", "little drum", "shiny bell", "paper boat", "yellow hat", "soft blanket",
          "green cup", "toy train", "silver key", "picture book", "warm scarf", "wooden horse", "tiny lamp"]
FOODS = ["a cake", "some cookies", "an apple", "a sandwich", "warm soup", "some bread", "sweet berries", "a pie"]
WEATHER = ["sunny", "warm", "windy", "cold", "cloudy", "rainy", "bright", "snowy"]
ELDERS = [("mom", SHE), ("dad", HE), ("grandma", SHE), ("grandpa", HE)]

OPENINGS = [
    "[Once upon a time|One day|Long ago], there was a {trait} {kind} named {hero}.",
    "[Once upon a time|One day], a {trait} {kind} named {hero} [went to|was at|walked to] {place}.",
    "{hero} was a {trait} {kind} who lived near {place}.",
    "There was a {trait} {kind} named {hero} who loved {placebare}.",
    "Once upon a time, {hero} and {friend} were [good|best|old] friends.",
    "Once there was a {kind}. {His} name was {hero} and {he} was very {trait}.",
    "[In a small house|Near a big tree|In a little town] there lived a {trait} {kind} named {hero}.",
]
LIKES = [
    "{He} liked to {fun} [every day|with {friend}|in the morning|all day long].",
    "{He} loved to {fun} and look at {sight}.",
    "Every day {he} went to {place} to {fun}.",
    "{He} had a {thing} and {he} loved it very much.",
    "{His} best friend was {fkindname}.",
    "{He} always wanted to {fun}, but {he} was too busy.",
    "{He} had a friend named {friend}. They liked to {fun} together.",
]
SETTINGS = [
    "One {weather} day, {hero} went to {place} with {friend}.",
    "One {weather} morning, {hero} [took {his} {thing} and went|put on {his} shoes and walked|ran] to {place}.",
    "It was a {weather} day and {hero} wanted to {fun}.",
    "One day, {elder} said, \"Let us go to {place}!\" {hero} [was very happy|smiled and jumped|clapped {his} hands].",
    "One {weather} day, {hero} and {friend} played with a {thing} at {place}.",
    "\"Do you want to {fun}?\" asked {friend}. \"Yes, I do!\" said {hero}.",
    "The day was {weather}. {hero} looked at {sight} and [felt happy|smiled|thought about lunch|started to sing].",
    "In the morning, {hero} ate {food} and went out to {fun}.",
]
MEETINGS = [
    "{His} friend {friend} was there too.", "There {he} met a {fkind} named {friend}.",
    "{friend} came along, and they [played|laughed|talked] together.", "On the way {he} saw {his} friend {friend}.",
]
PROBLEMS = [
    ("lost", ["But then {hero} could not find {his} {thing}. {He} looked {spot}, but it was not there.",
              "Suddenly, the {thing} was gone. {hero} looked and looked, but {he} could not see it.",
              "{hero} lost {his} {thing} at {place}. {He} [was sad|started to cry|did not know what to do]."]),
    ("broke", ["But the {thing} fell down and broke. {hero} [was very sad|began to cry|felt bad].",
               "{friend} ran too fast and fell on the {thing}. It broke. {hero} [was angry|was upset|was sad].",
               "Oh no! {hero} dropped the {thing} and it broke into two parts."]),
    ("scared", ["Then {he} heard a loud noise {spot}. {hero} was [scared|afraid|very scared].",
                "Suddenly, it got dark and {hero} was afraid. {He} could not see {sight} any more.",
                "A big {weather2} wind came, and {hero} [hid|ran to hide] {spot}. {He} was scared."]),
    ("hurt", ["But {he} fell and hurt {his} leg. \"Ouch!\" said {hero}. It hurt a lot.",
              "{hero} ran too fast and fell down. {He} hurt {his} [knee|foot|hand] and cried.",
              "{hero} and {friend} ran down the path, and {hero} fell. {He} hurt {his} arm."]),
    ("fight", ["But {friend} wanted the {thing} too. \"It is mine!\" said {hero}. They started to fight.",
               "{hero} did not want to share the {thing}. {friend} [was sad|was angry|went away].",
               "{friend} took the {thing} and did not give it back. {hero} was [angry|mad|sad]."]),
    ("alone", ["But nobody wanted to play with {hero}. {He} sat {spot} and felt [lonely|sad|alone].",
               "{hero} looked for {friend}, but {friend} was not there. {He} was all alone.",
               "All the others were busy, and {hero} had to play alone. {He} felt sad."]),
    ("found", ["Then {hero} found a {thing} {spot}. {He} wanted to know whose it was.",
               "{hero} saw something {spot}. It was a {thing}! \"Who lost it?\" {he} asked.",
               "Suddenly, {he} saw a {thing} {spot}. It looked [old|new|very nice|strange]."]),
    ("hungry", ["Soon {hero} was very hungry, but there was no food at {place}.",
                "{hero} wanted to eat {food}, but it was all gone. {He} was [hungry|hungry and sad|not happy].",
                "\"I am so hungry,\" said {hero}. {He} looked for {food}, but found nothing."]),
]
GOOD_TURNS = {
    "lost": ["{friend} said, \"Do not be sad. I will help you.\" They looked {spot} and found the {thing}!",
             "{elder} came to help. {Ehe} looked {spot}, and there was the {thing}!",
             "Then a {animal} came with the {thing}. \"Is this yours?\" it asked. \"Yes, thank you!\" said {hero}."],
    "broke": ["{elder} said, \"We can fix it.\" They worked together, and soon the {thing} was like new.",
              "{friend} said, \"I am sorry. I will help you fix it.\" {fHe} got some glue and fixed the {thing}.",
              "{hero} took the {thing} home and {elder} fixed it for {him}."],
    "scared": ["But it was only a little {animal}. {hero} laughed and was not scared any more.",
               "{friend} took {his} hand and said, \"I am here.\" {hero} felt [safe|better|brave] again.",
               "{elder} came with a light and gave {him} a big hug. {hero} felt safe."],
    "hurt": ["{elder} came and gave {him} a hug. Soon it did not hurt any more.",
             "{friend} ran to get help. {elder} came and made everything better.",
             "\"You are very brave,\" said {elder}. {hero} smiled and got up again."],
    "fight": ["Then {hero} said, \"I am sorry. We can share it.\" {friend} smiled and they played together.",
              "{elder} said, \"It is good to share.\" So they shared the {thing} and had fun.",
              "{friend} said, \"I am sorry.\" {hero} gave {fhim} a hug, and they were friends again."],
    "alone": ["Then {friend} came and said, \"Let us play together!\" {hero} jumped up.",
              "A small {animal} came and sat next to {him}. They became good friends.",
              "{elder} saw {him} and said, \"Come, we can {fun} together.\" {hero} smiled."],
    "found": ["{hero} gave the {thing} to {friend}. \"Thank you, this is mine!\" said {friend} with a big smile.",
              "{He} took it to {elder}. \"You can keep it,\" {ehe} said. {hero} said thank you.",
              "It was a gift from {friend}! \"I made it for you,\" said {friend}. {hero} loved it."],
    "hungry": ["Then {friend} came and shared {food} with {him}. It was very good.",
               "{elder} made {food} for {him}. \"Thank you!\" said {hero} and ate it all.",
               "A kind {animal} showed {him} where to find sweet berries. They ate together."],
}
BAD_TURNS = {
    "lost": ["{He} looked all day, but {he} did not find it. The {thing} was gone.",
             "{friend} did not want to help. {hero} had to look alone, and {he} found nothing.",
             "A mean {animal} had taken the {thing} and did not give it back."],
    "broke": ["{hero} tried to fix it, but {he} could not. {He} had to throw the {thing} away.",
              "{elder} was angry and said, \"You must be careful.\" {hero} cried.",
              "{friend} laughed at {him} and went away. {hero} felt very bad."],
    "scared": ["{He} ran and ran, but {he} could not find the way home.",
               "A big mean {animal} came out and chased {him} away from {place}.",
               "{He} called for {friend}, but nobody came. {hero} cried in the dark."],
    "hurt": ["It hurt so much that {he} could not play. {He} had to stay in bed for days.",
             "Nobody came to help. {hero} cried and cried.",
             "{friend} did not help and ran away. {hero} was sad and in pain."],
    "fight": ["{hero} pushed {friend}, and {friend} cried and went home.",
              "They pulled on the {thing} and it broke. Now nobody could play with it.",
              "{friend} said, \"I do not like you any more,\" and left. {hero} was alone."],
    "alone": ["{He} waited for a long time, but nobody came. {He} cried and went home.",
              "{hero} asked {friend} to play, but {friend} said no. {hero} was very sad.",
              "It started to rain, and {he} got cold and wet. {He} felt bad."],
    "found": ["{hero} kept it and did not tell anyone. {friend} was sad because the {thing} was {fhis}.",
              "{He} took it, but it fell and broke. {friend} was angry because it was {fhis} {thing}.",
              "A mean {animal} came and took it away. {hero} was sad."],
    "hungry": ["{He} asked {friend} for {food}, but {friend} did not share. {hero} was sad.",
               "{He} ate some bad berries and got very sick.",
               "{He} had to walk home in the cold, hungry and tired."],
}
GOOD_ENDS = [
    "{hero} was very happy. [They played until it was dark.|{He} smiled all the way home.|It was a good day.]",
    "From that day on, {hero} and {friend} were best friends.",
    "They laughed and played all day. {hero} was happy.",
    "{hero} said, \"Thank you!\" and gave {elder} a big hug. They were all happy.",
    "At home, {he} told {elder} about the day. \"I had so much fun,\" {he} said with a smile.",
    "{hero} learned that it is good to [help others|share|be kind|ask for help|be brave]. The end.",
    "And they all lived happily ever after.",
]
BAD_ENDS = [
    "{hero} was very sad. [{He} cried all the way home.|It was a bad day.|{He} did not want to play any more.]",
    "{He} went home alone and cried. It was a sad day.",
    "{hero} sat {spot} and cried. Nobody came.",
    "At home, {he} told {elder} about the day. {He} was still sad and went to bed.",
    "From that day on, {hero} and {friend} did not play together any more.",
    "{hero} learned that {he} had to [be careful|listen to {elder}|share|stay near home]. But {he} was sad. The end.",
    "{He} never went to {place} again. The end.",
]
EXTRAS = [
    "\"What can we do?\" asked {friend}.", "{hero} thought for a while.", "\"Oh no!\" said {hero}.",
    "The sun was [high|low|bright] in the sky.", "{hero} and {friend} looked at {sight}.",
    "\"Please help me,\" said {hero}.", "{He} took a deep breath.", "{friend} looked at {him}.",
]


class Story:
    def __init__(self, random):
        self.random = random
        self.hero = self.character(70)
        self.friend = self.character(60)
        while self.friend.name == self.hero.name:
            self.friend = self.character(60)
        self.place = random.pick(PLACES)
        self.thing = random.pick(THINGS)
        self.elder, self.elder_pronouns = random.pick(ELDERS)
        self.weather = random.pick(WEATHER)
        self.good = random.chance(50)

    def character(self, human_percent):
        random = self.random
        female = random.chance(50)
        pronouns = SHE if female else HE
        if random.chance(human_percent):
            return Character(random.pick(GIRLS if female else BOYS), "girl" if female else "boy", pronouns)
        kind, ladies, gentlemen = random.pick(ANIMALS)
        return Character(random.pick(ladies if female else gentlemen), kind, pronouns)

    def words(self):
        hero, friend, random = self.hero, self.friend, self.random
        return {
            "hero": hero.name, "kind": hero.kind, "he": hero.he, "him": hero.him, "his": hero.his,
            "He": hero.he.capitalize(), "His": hero.his.capitalize(),
            "friend": friend.name, "fhim": friend.him, "fHe": friend.he.capitalize(),
            "fhis": "hers" if friend.he == "she" else "his", "fkind": friend.kind, "fkindname": f"a {friend.kind} named {friend.name}",
            "place": self.place.name, "placebare": self.place.name, "fun": random.pick(self.place.fun),
            "sight": random.pick(self.place.sights), "spot": random.pick(self.place.thing_spots),
            "thing": self.thing, "food": random.pick(FOODS), "weather": self.weather,
            "weather2": random.pick(["cold", "loud", "strong"]), "trait": random.pick(TRAITS),
            "animal": random.pick([animal[0] for animal in ANIMALS]),
            "elder": f"{hero.his} {self.elder}", "ehe": self.elder_pronouns[0],
            "Ehe": self.elder_pronouns[0].capitalize(),
        }

    def choose(self, template):
        """Replaces each [a|b] by one of its choices."""
        while "[" in template:
            start = template.index("[")
            end = template.index("]", start)
            choice = self.random.pick(template[start + 1:end].split("|"))
            template = template[:start] + choice + template[end + 1:]
        return template

    def sentence(self, templates):
        text = self.choose(self.random.pick(templates)).format(**self.words())
        text = text[0].upper() + text[1:]
        for mark in (". ", "! ", "? ", "\" "):
            for elder, _ in ELDERS:
                for his in ("his", "her"):
                    text = text.replace(f"{mark}{his} {elder}", f"{mark}{his.capitalize()} {elder}"
                                        if mark != "\" " else f"{mark}{his} {elder}")
        return text

    def sentences(self):
        random = self.random
        kind, problems = random.pick(PROBLEMS)
        parts = [self.sentence(OPENINGS)]
        if random.chance(75) and self.friend.name not in parts[0]:
            parts.append(self.sentence(LIKES))
        parts.append(self.sentence(SETTINGS))
        if not any(self.friend.name in part for part in parts):
            parts.append(self.sentence(MEETINGS))
        if kind == "found" and any(self.thing in part for part in parts):
            self.thing = random.pick([thing for thing in THINGS if thing != self.thing])
        if random.chance(30):
            parts.append(self.sentence(EXTRAS))
        parts.append(self.sentence(problems))
        if random.chance(45):
            parts.append(self.sentence(EXTRAS))
        parts.append(self.sentence((GOOD_TURNS if self.good else BAD_TURNS)[kind]))
        parts.append(self.sentence(GOOD_ENDS if self.good else BAD_ENDS))
        return parts

    def text(self):
        return " ".join(self.sentences())

    def opening(self):
        """The first one to three sentences, or a few words into the next one."""
        parts = self.sentences()
        count = 1 + self.random.below(3)
        prompt = " ".join(parts[:count])
        if self.random.chance(40):
            following = parts[count].split(" ")
            prompt += " " + " ".join(following[:2 + self.random.below(3)])
        return prompt
